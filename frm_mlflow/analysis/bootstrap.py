"""Bootstrap intervals over clusters, vectorised over resamples.

Benchmarks on one chip are not independent, so whole chips are resampled, never rows. A statistic
here is a ratio of sums over clusters, which makes a resample a weighted sum, so all resamples
are computed by one matrix product. Intervals are BCa, widened to allow for the small number of chips, and
extend at least as far as Student's interval with the jackknife's standard error. A plain bootstrap of 5 to
15 chips covers 0.75 to 0.9 instead of 0.95 (docs/explanation/uncertainty.md has the simulation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, column_means
from frm_mlflow.analysis.interval import Interval

Bounds = tuple[ArrayLike, ArrayLike]
"""Lower and upper limits of a statistic, for all columns or for each one."""

ANY_NUMBER = (-np.inf, np.inf)
SHARE = (0.0, 1.0)
CORRELATION = (-1.0, 1.0)
MIN_CLUSTERS = 5
"""With fewer clusters, an interval would reflect the number of clusters more than the data."""
_NO_SPREAD = 1e-12
"""Spread, relative to the estimate, that is only rounding error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipInterval(Interval):
    """An estimate with its interval over chips; without one if there are too few chips or all agree exactly."""

    n_clusters: int
    method: str
    """Method of the interval: bca, percentile, or none."""

    def __str__(self) -> str:
        if not self.is_known:
            same = "" if self.n_clusters < MIN_CLUSTERS else ", all alike"
            return f"{self.value:.3f} (no interval: {self.n_clusters} chips{same})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def resample_counts(n_clusters: int, *, resamples: int, rng: np.random.Generator) -> Floats:
    """Return how often each cluster is drawn in each resample, shape (resamples, n_clusters)."""
    drawn = rng.integers(n_clusters, size=(resamples, n_clusters), dtype=np.int32)
    drawn += np.arange(resamples, dtype=np.int32)[:, None] * n_clusters
    counts = np.bincount(drawn.ravel(), minlength=resamples * n_clusters).reshape(resamples, n_clusters)
    return counts.astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClusterMeans:
    """Sums and counts of J columns over K clusters, enough to resample means without the rows."""

    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, values: Floats, clusters: ArrayLike) -> ClusterMeans:
        """Sum `values` (N, J) by the cluster of each row; NaN cells are ignored."""
        finite = np.isfinite(values)
        return cls.of_sums(np.where(finite, values, 0.0), finite.astype(np.float64), clusters)

    @classmethod
    def of_sums(cls, sums: Floats, counts: Floats, clusters: ArrayLike) -> ClusterMeans:
        """Combine rows that are already sums over several cases with their numbers of cases, both (N, J)."""
        names, code = np.unique(_array(clusters), return_inverse=True)
        member = (np.arange(names.size)[:, None] == code[None, :]).astype(np.float64)
        return cls(sums=member @ sums, counts=member @ counts)

    @property
    def n_clusters(self) -> Integers:
        """Number of clusters that have a value in each column."""
        used: Integers = (self.counts > 0).sum(axis=0)
        return used

    @property
    def mean(self) -> Floats:
        """Mean of each column."""
        return _quotient(self.sums.sum(axis=0), self.counts.sum(axis=0))

    @property
    def effective_clusters(self) -> Floats:
        """Effective number of clusters (Kish): lower than the actual number if one cluster has most of the rows."""
        return _quotient(self.counts.sum(axis=0) ** 2, (self.counts**2).sum(axis=0))

    @property
    def left_one_out(self) -> Floats:
        """Mean of each column with one cluster left out, (K, J); NaN for a cluster that has no value in the column."""
        without = _quotient(self.sums.sum(axis=0) - self.sums, self.counts.sum(axis=0) - self.counts)
        return np.where(self.counts > 0, without, np.nan)

    def resampled(self, resamples: int, rng: np.random.Generator) -> Floats:
        """Mean of each column in each resample of clusters, (resamples, J)."""
        drawn = resample_counts(len(self.sums), resamples=resamples, rng=rng)
        return _quotient(drawn @ self.sums, drawn @ self.counts)

    def intervals(
        self,
        *,
        rng: np.random.Generator,
        resamples: int = 2000,
        confidence: float = 0.95,
        bounds: Bounds = ANY_NUMBER,
    ) -> list[ChipInterval]:
        """Mean of each column with its interval; `bounds` limit the ends of the intervals."""
        if len(self.sums) < MIN_CLUSTERS:
            return [_none(float(e), int(n)) for e, n in zip(self.mean, self.n_clusters, strict=True)]
        return intervals(
            self.mean,
            self.resampled(resamples, rng),
            [self.left_one_out],
            n_clusters=self.n_clusters,
            effective_clusters=self.effective_clusters,
            confidence=confidence,
            bounds=bounds,
        )


def mean_intervals(
    values: Floats,
    clusters: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
    bounds: Bounds = ANY_NUMBER,
) -> list[ChipInterval]:
    """Return the mean of each column of `values` (N, J) with its interval; NaN cells are ignored.

    `clusters` names the chip (or device) of each of the N rows.
    """
    means = ClusterMeans.of(values, clusters)
    return means.intervals(rng=rng, resamples=resamples, confidence=confidence, bounds=bounds)


def mean_interval(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
    bounds: Bounds = ANY_NUMBER,
) -> ChipInterval:
    """Return the mean of `values` (N,) with an interval over `clusters`; NaN is ignored."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    return mean_intervals(column, clusters, rng=rng, resamples=resamples, confidence=confidence, bounds=bounds)[0]


def pair_mean_interval(
    matrices: Sequence[Floats],
    rows: ArrayLike,
    columns: ArrayLike,
    *,
    apart: Mask,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
    bounds: Bounds = ANY_NUMBER,
) -> list[ChipInterval]:
    """Return the mean over pairs of each matrix (R, C) with its interval; NaN cells are ignored.

    `rows` and `columns` name the chips. A chip that is drawn twice counts twice in both roles.
    Only pairs that are `apart` count, because a resample would otherwise compare a chip with itself. All
    matrices share the same draws, so passing differences gives intervals of differences.
    """
    names, code = np.unique(np.concatenate([_array(rows), _array(columns)]), return_inverse=True)
    row_code, column_code = code[: len(_array(rows))], code[len(_array(rows)) :]
    drawn = resample_counts(len(names), resamples=resamples, rng=rng) if len(names) >= MIN_CLUSTERS else None
    apart_only = (np.where(apart, matrix, np.nan) for matrix in matrices)
    return [_pair_interval(matrix, row_code, column_code, drawn, confidence, bounds) for matrix in apart_only]


def intervals(
    estimate: Floats,
    resampled: Floats,
    left_one_out: Sequence[Floats],
    *,
    n_clusters: Integers,
    effective_clusters: Floats,
    confidence: float,
    bounds: Bounds = ANY_NUMBER,
) -> list[ChipInterval]:
    """Return intervals of J statistics from resamples (B, J) and the jackknife values of each sample, (K, J) each.

    BCa (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, equations 14.9 to 14.15), widened by the
    ratio of Student's quantile to the normal quantile, and no narrower than Student's interval with the
    jackknife's standard error. Both use the effective number of clusters minus one as degrees of freedom, and both
    are widened by `sqrt(K / (K - 1))`, which skewed values from five chips need.
    """
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    error, skewness = _jackknife(left_one_out)
    levels, corrected = _bca_levels(estimate, resampled, skewness, tails)
    student = stdtrit(np.maximum(np.fmin(effective_clusters, n_clusters) - 1, 1.0), tails[1])
    student = student * np.sqrt(n_clusters / np.maximum(n_clusters - 1, 1))
    reach = student / ndtri(tails[1]) * np.abs(_column_quantiles(resampled, levels) - estimate)
    low, high = estimate - np.fmax(reach[0], student * error), estimate + np.fmax(reach[1], student * error)
    low, high = np.maximum(low, bounds[0]), np.minimum(high, bounds[1])
    results = []
    for j, point in enumerate(estimate):
        if n_clusters[j] < MIN_CLUSTERS or not np.isfinite(point) or error[j] <= _NO_SPREAD * max(abs(point), 1.0):
            results.append(_none(float(point), int(n_clusters[j])))
            continue
        method = "bca" if corrected[j] else "percentile"
        ends = {"low": float(low[j]), "high": float(high[j])}
        results.append(ChipInterval(value=float(point), **ends, n_clusters=int(n_clusters[j]), method=method))
    return results


def _jackknife(left_one_out: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the standard error and the skewness (BCa's acceleration) of J statistics of one or more samples."""
    variance, squares, cubes = 0.0, 0.0, 0.0
    for sample in left_one_out:
        deviation = column_means(sample) - sample
        finite = np.isfinite(sample).sum(axis=0)
        squared = np.nansum(deviation**2, axis=0)
        variance = variance + squared * (finite - 1) / np.maximum(finite, 1)
        squares, cubes = squares + squared, cubes + np.nansum(deviation**3, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(variance), np.asarray(cubes / (6 * squares**1.5))


def _bca_levels(estimate: Floats, resampled: Floats, acceleration: Floats, tails: Floats) -> tuple[Floats, Mask]:
    """Return the quantile levels (2, J) and a mask of the columns whose levels are BCa's."""
    below = (np.sum(resampled < estimate, axis=0) + 0.5 * np.sum(resampled == estimate, axis=0)) / len(resampled)
    bias = ndtri(below)
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = bias + ndtri(tails)[:, None]
        levels = ndtr(bias + shifted / (1 - acceleration * shifted))
    corrected = np.isfinite(levels).all(axis=0) & np.isfinite(bias)
    return np.where(corrected, levels, tails[:, None]), corrected


def _column_quantiles(values: Floats, levels: Floats) -> Floats:
    """Return linearly interpolated quantiles of each column at that column's `levels` (L, J); NaN is ignored."""
    ordered = np.sort(values, axis=0)
    last = np.maximum(np.isfinite(ordered).sum(axis=0) - 1, 0)
    position = levels * last
    lower = np.floor(position).astype(np.intp)
    upper = np.minimum(lower + 1, last)
    columns = np.arange(values.shape[1])
    weight = position - lower
    quantiles: Floats = ordered[lower, columns] * (1 - weight) + ordered[upper, columns] * weight
    return quantiles


def _pair_interval(
    matrix: Floats, rows: Integers, columns: Integers, drawn: Floats | None, confidence: float, bounds: Bounds
) -> ChipInterval:
    finite = np.isfinite(matrix)
    n = int(max(rows.max(initial=-1), columns.max(initial=-1))) + 1
    sums, counts = (
        _block_sums(v, rows, columns, n) for v in (np.where(finite, matrix, 0.0), finite.astype(np.float64))
    )
    total, total_count = sums.sum(), counts.sum()
    pairs_of_chip = counts.sum(axis=0) + counts.sum(axis=1)
    used = int((pairs_of_chip > 0).sum())
    estimate = float(total / total_count) if total_count else float("nan")
    if drawn is None or used < MIN_CLUSTERS:
        return _none(estimate, used)
    resampled = _quotient(_quadratic(drawn, sums), _quadratic(drawn, counts))
    without, without_count = (v.sum() - v.sum(axis=0) - v.sum(axis=1) + np.diag(v) for v in (sums, counts))
    jackknife = np.where(pairs_of_chip > 0, _quotient(without, without_count), np.nan)
    return intervals(
        np.array([estimate]),
        resampled[:, None],
        [jackknife[:, None]],
        n_clusters=np.array([used]),
        effective_clusters=np.array([pairs_of_chip.sum() ** 2 / (pairs_of_chip**2).sum()]),
        confidence=confidence,
        bounds=bounds,
    )[0]


def _quadratic(weights: Floats, matrix: Floats) -> Floats:
    """Return w' A w for each row w."""
    product: Floats = np.einsum("bk,bk->b", weights @ matrix, weights)
    return product


def _block_sums(values: Floats, rows: Integers, columns: Integers, n: int) -> Floats:
    by_row = np.zeros((n, values.shape[1]))
    np.add.at(by_row, rows, values)
    both = np.zeros((n, n))
    np.add.at(both, columns, by_row.T)
    return both.T


def _array(names: ArrayLike) -> NDArray[np.str_]:
    return np.asarray(names).astype(str)


def _quotient(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def _none(estimate: float, n_clusters: int) -> ChipInterval:
    nan = float("nan")
    return ChipInterval(value=float(estimate), low=nan, high=nan, n_clusters=n_clusters, method="none")
