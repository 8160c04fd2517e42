"""Tests and corrections: exact where samples are small, and honest where they are too small."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import comb
from scipy.stats import mannwhitneyu, rankdata, t

from frm_mlflow.analysis.arrays import Floats, Integers

_EXACT_MODELS = 8
"""Up to 8 models all orders (40,320) are looked at; above, Student's t is close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MannWhitney:
    """Two-sided Mann-Whitney U test, with what the sample sizes could have shown at best."""

    u: float
    p: float
    n_a: int
    n_b: int
    cliffs_delta: float
    """P(a > b) - P(a < b): -1 to 1."""
    smallest_p: float
    """The lowest p that samples of these sizes can give."""

    @property
    def largest_u(self) -> int:
        """The largest U that samples of these sizes can give."""
        return self.n_a * self.n_b


def mann_whitney(a: ArrayLike, b: ArrayLike) -> MannWhitney:
    """Compare two samples, NaN ignored: exact for small samples without ties, else normal with tie correction.

    An empty sample gives NaN for U, p and delta.
    """
    one, other = (_known(v) for v in (a, b))
    n_a, n_b = one.size, other.size
    if not n_a or not n_b:
        nan = float("nan")
        return MannWhitney(u=nan, p=nan, n_a=n_a, n_b=n_b, cliffs_delta=nan, smallest_p=1.0)
    result = mannwhitneyu(one, other, alternative="two-sided", method="auto")
    u = float(result.statistic)
    smallest = float(min(1.0, 2 / comb(n_a + n_b, n_a)))
    return MannWhitney(
        u=u, p=float(result.pvalue), n_a=n_a, n_b=n_b, cliffs_delta=2 * u / (n_a * n_b) - 1, smallest_p=smallest
    )


def spearman_p(rho: float, x: ArrayLike, y: ArrayLike) -> float:
    """Return the two-sided p of Spearman's rho between `x` and `y`: exact up to 8 models, Student's t above."""
    one, other = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    common = np.isfinite(one) & np.isfinite(other)
    n = int(common.sum())
    if n < 3 or not np.isfinite(rho):
        return float("nan")
    if n <= _EXACT_MODELS:
        return _exact_p(rankdata(one[common]), rankdata(other[common]))
    if abs(rho) >= 1:
        return 2 / factorial(n) if n < 20 else 0.0
    statistic = abs(rho) * np.sqrt((n - 2) / (1 - rho**2))
    return float(2 * t.sf(statistic, n - 2))


def bonferroni(p_values: ArrayLike) -> Floats:
    """Return p times the number of (known) tests, at most 1."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted: Floats = np.minimum(p * np.isfinite(p).sum(), 1.0)
    return adjusted


def holm(p_values: ArrayLike) -> Floats:
    """Return Holm's step-down adjusted p-values; NaN stays NaN and is no test."""
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(known.size, 0, -1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def _known(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _exact_p(x: Floats, y: Floats) -> float:
    observed = abs(float((x - x.mean()) @ (y - y.mean())))
    drawn = np.abs((y - y.mean())[_orders(y.size)] @ (x - x.mean()))
    return float(np.mean(drawn >= observed - 1e-9))


@lru_cache(maxsize=_EXACT_MODELS)
def _orders(n: int) -> Integers:
    return np.array(list(permutations(range(n))), dtype=np.intp)
