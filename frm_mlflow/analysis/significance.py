"""Tests and corrections: exact for small samples, and explicit about samples that are too small."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import comb
from scipy.stats import mannwhitneyu, rankdata, t, wilcoxon

from frm_mlflow.analysis.arrays import Floats, Integers

_EXACT_VALUES = 60
_EXACT_MODELS = 8
"""Up to 8 models, all orders (40,320) are enumerated; above that, Student's t is close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MannWhitney:
    """Two-sided Mann-Whitney U test, with the best result that the sample sizes could have shown."""

    u: float
    p: float
    n_a: int
    n_b: int
    cliffs_delta: float
    """P(a > b) - P(a < b): -1 to 1."""
    smallest_p: float
    """The lowest p that these values can give, however they are divided between the samples."""

    @property
    def largest_u(self) -> int:
        """The largest U that samples of these sizes can give."""
        return self.n_a * self.n_b


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRanks:
    """Two-sided Wilcoxon signed-rank test of pairs, with the best result that this number of pairs could have shown."""

    statistic: float
    """Sum of the ranks of pairs with a > b."""
    p: float
    n: int
    share_above: float
    """Share of pairs with a > b minus the share with a < b: -1 to 1."""
    smallest_p: float


def mann_whitney(a: ArrayLike, b: ArrayLike) -> MannWhitney:
    """Compare two independent samples, NaN ignored: exact up to 60 values, also with ties; above that, SciPy's test.

    `smallest_p` is computed for these exact values, because ties reduce the number of possible results. An empty
    sample gives NaN for U, p and delta.
    """
    one, other = (_known(v) for v in (a, b))
    n_a, n_b = one.size, other.size
    if not n_a or not n_b:
        nan = float("nan")
        return MannWhitney(u=nan, p=nan, n_a=n_a, n_b=n_b, cliffs_delta=nan, smallest_p=1.0)
    ranks = rankdata(np.concatenate([one, other]))
    u = float(ranks[:n_a].sum() - n_a * (n_a + 1) / 2)
    if ranks.size <= _EXACT_VALUES:
        p, smallest = _two_sided(_rank_sums(ranks, n_a), ranks[:n_a].sum())
    else:
        p = float(mannwhitneyu(one, other, alternative="two-sided", method="auto").pvalue)
        smallest = float(min(1.0, 2 / comb(n_a + n_b, n_a)))
    return MannWhitney(u=u, p=p, n_a=n_a, n_b=n_b, cliffs_delta=2 * u / (n_a * n_b) - 1, smallest_p=smallest)


def signed_ranks(a: ArrayLike, b: ArrayLike) -> SignedRanks:
    """Compare two figures of the same chips by Wilcoxon's signed-rank test; pairs with a NaN are ignored.

    Exact up to 60 pairs, also with ties; above that, SciPy's test. Pairs that do not differ have no sign and are
    left out (Wilcoxon 1945). If no pair differs, p is 1. Without any pair it is NaN.
    """
    difference = _known(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
    if not difference.size:
        nan = float("nan")
        return SignedRanks(statistic=nan, p=nan, n=0, share_above=nan, smallest_p=1.0)
    moved = difference[difference != 0]
    ranks = rankdata(np.abs(moved))
    statistic = float(ranks[moved > 0].sum())
    if moved.size <= _EXACT_VALUES:
        p, smallest = _two_sided(_signed_sums(ranks), statistic)
    else:
        p, smallest = float(wilcoxon(moved).pvalue), float(2.0 ** (1 - moved.size))
    share = float(np.mean(np.sign(difference)))
    return SignedRanks(statistic=statistic, p=p, n=difference.size, share_above=share, smallest_p=smallest)


def _rank_sums(ranks: Floats, size: int) -> Floats:
    """Return the probability of each sum of `size` ranks, in steps of a half, if all subsets are equally likely."""
    steps = np.rint(2 * ranks).astype(np.intp)
    ways = np.zeros((size + 1, steps.sum() + 1))
    ways[0, 0] = 1.0
    for step in steps:
        ways[1:, step:] = ways[1:, step:] + ways[:-1, : ways.shape[1] - step]
    share: Floats = ways[size] / ways[size].sum()
    return share


def _signed_sums(ranks: Floats) -> Floats:
    """Return the probability of each sum of the positive ranks, in steps of a half, if all signs are equally likely."""
    steps = np.rint(2 * ranks).astype(np.intp)
    share = np.zeros(steps.sum() + 1)
    share[0] = 1.0
    for step in steps:
        share[step:] = (share[step:] + share[: share.size - step]) / 2
        share[:step] /= 2
    return share


def _two_sided(share: Floats, total: float) -> tuple[float, float]:
    """Return twice the smaller tail of a distribution in steps of a half, and the smallest p that it can give."""
    place = round(2 * total)
    possible = np.flatnonzero(share)
    p = 2 * min(share[: place + 1].sum(), share[place:].sum())
    return float(min(p, 1.0)), float(min(2 * min(share[possible[0]], share[possible[-1]]), 1.0))


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
    """Return p times the number of tests with a finite p, at most 1."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted: Floats = np.minimum(p * np.isfinite(p).sum(), 1.0)
    return adjusted


def holm(p_values: ArrayLike) -> Floats:
    """Return Holm's step-down adjusted p-values; NaN stays NaN and does not count as a test."""
    p = np.asarray(p_values, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(p))
    order = finite[np.argsort(p[finite], kind="stable")]
    factors = np.arange(finite.size, 0, -1)
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
