import warnings

import numpy as np
import pytest
from scipy.stats import bootstrap, norm, sem, t

from frm_mlflow.analysis.bootstrap import (
    SHARE,
    ClusterMeans,
    mean_interval,
    mean_intervals,
    pair_mean_interval,
    resample_counts,
)


def test_resample_counts_draw_as_many_as_there_are(rng):
    counts = resample_counts(7, resamples=50, rng=rng)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()


def widened(estimate, ends, n, error):
    """Return SciPy's BCa ends, or Student's if they are further away, after scaling by sqrt(n / (n - 1))."""
    student = t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))
    factor = student / norm.ppf(0.975)
    low = estimate - max(factor * (estimate - ends.low), student * error)
    return low, estimate + max(factor * (ends.high - estimate), student * error)


@pytest.mark.parametrize(("seed", "n"), [(0, 40), (1, 12), (2, 6)])
def test_interval_of_independent_rows_is_scipys_bca_widened(seed, n):
    values = np.random.default_rng(seed).exponential(size=n)
    ours = mean_interval(values, np.arange(n), rng=np.random.default_rng(0), resamples=20_000)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0))
    low, high = widened(values.mean(), theirs.confidence_interval, n, sem(values))
    assert ours.method == "bca"
    assert ours.low == pytest.approx(low, abs=0.03 * (high - low))
    assert ours.high == pytest.approx(high, abs=0.03 * (high - low))


def test_clusters_of_different_size_equal_scipys_paired_ratio():
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(15), 4)
    values = rng.normal(size=clusters.size) + clusters * 0.3
    values, clusters = values[2:], clusters[2:]
    sums, counts = (np.bincount(clusters, weights=w) for w in (values, np.ones_like(values)))
    ours = mean_interval(values, clusters, rng=np.random.default_rng(0), resamples=20_000)
    theirs = bootstrap(
        (sums, counts),
        lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    jackknife = np.array([np.delete(sums, k).sum() / np.delete(counts, k).sum() for k in range(15)])
    error = np.sqrt(14 * np.var(jackknife))
    assert ours.value == pytest.approx(values.mean())
    low, high = widened(values.mean(), theirs, 15, error)
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))


def test_a_dominant_chip_reduces_degrees_of_freedom():
    even, uneven = np.repeat(np.arange(8), 4), np.concatenate([np.zeros(25, int), np.arange(1, 8)])
    counts = [ClusterMeans.of(np.ones((32, 1)), chips).effective_clusters[0] for chips in (even, uneven)]
    assert counts == [8, pytest.approx(32**2 / (25**2 + 7))]


def test_an_interval_ends_at_the_bounds(rng):
    shares = np.array([1.0, 1.0, 1.0, 0.9, 1.0, 0.7])
    free, bound = (
        mean_interval(shares, np.arange(6), rng=np.random.default_rng(0), **b) for b in ({}, {"bounds": SHARE})
    )
    assert free.high > 1 == bound.high
    assert free.low == bound.low


def test_chips_drawn_whole_give_a_wider_interval_than_rows():
    rng = np.random.default_rng(7)
    chip = np.repeat(np.arange(10), 20)
    values = rng.normal(size=10)[chip] + 0.1 * rng.normal(size=200)
    by_chip = mean_interval(values, chip, rng=rng)
    by_row = mean_interval(values, np.arange(200), rng=rng)
    assert by_chip.high - by_chip.low > 2 * (by_row.high - by_row.low)


def test_a_95_percent_interval_covers_about_95_percent():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(300):
        chip = np.repeat(np.arange(30), 4)
        values = rng.normal(size=30)[chip] + 0.5 * rng.normal(size=120)
        interval = mean_interval(values, chip, rng=rng, resamples=600)
        covered += interval.low <= 0 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_missing_cells_are_ignored_column_by_column(rng):
    values = np.column_stack([np.arange(10.0), np.where(np.arange(10) < 3, np.nan, np.arange(10.0))])
    found = mean_intervals(values, np.arange(10), rng=rng)
    assert [interval.value for interval in found] == [4.5, 6.0]
    assert [interval.n_clusters for interval in found] == [10, 7]


def test_too_few_chips_is_no_interval(rng):
    interval = mean_interval([1.0, 2.0, 3.0], ["a", "b", "c"], rng=rng)
    assert (interval.value, interval.method, interval.n_clusters) == (2.0, "none", 3)
    assert np.isnan(interval.low)
    assert str(interval) == "2.000 (no interval: 3 chips)"


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_chips_that_all_agree_leave_no_interval(rng, value):
    """Eight chips without a failure do not prove that no chip fails."""
    interval = mean_interval(np.full(8, value), np.arange(8), rng=rng)
    assert np.isnan(interval.low)
    assert str(interval) == f"{value:.3f} (no interval: 8 chips, all alike)"


def test_no_finite_value_gives_nan_without_a_warning(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = mean_interval(np.full(8, np.nan), np.arange(8), rng=rng)
    assert np.isnan(interval.value)


def test_pair_mean_leaves_out_pairs_on_one_chip(rng):
    chips = np.array(["a", "a", "b", "c", "d", "e"])
    matrix = np.where(chips[:, None] == chips[None, :], 99.0, 0.5)
    [interval] = pair_mean_interval([matrix], chips, chips, apart=_apart(chips), rng=rng)
    assert (interval.value, interval.n_clusters) == (0.5, 5)


def test_pair_mean_equals_drawing_chips_one_by_one():
    rng = np.random.default_rng(9)
    matrix = rng.random((12, 12))
    matrix = matrix + matrix.T
    chips = np.repeat(np.arange(6), 2)
    [interval] = pair_mean_interval(
        [matrix], chips, chips, apart=_apart(chips), rng=np.random.default_rng(0), resamples=5000
    )
    means = []
    for _ in range(3000):
        rows = np.concatenate([np.flatnonzero(chips == c) for c in rng.integers(0, 6, 6)])
        drawn = [matrix[i, j] for i in rows for j in rows if chips[i] != chips[j]]
        means.append(np.mean(drawn) if drawn else np.nan)
    low, high = np.nanquantile(means, [0.025, 0.975])
    factor = t.ppf(0.975, 5) / norm.ppf(0.975) * np.sqrt(6 / 5)
    assert interval.low <= interval.value - 0.9 * factor * (interval.value - low)
    assert interval.high >= interval.value + 0.9 * factor * (high - interval.value)


def test_same_seed_same_interval():
    values = np.random.default_rng(1).random(20)
    one, other = (mean_interval(values, np.arange(20), rng=np.random.default_rng(5)) for _ in range(2))
    assert one == other


def _apart(chips):
    return np.asarray(chips)[:, None] != np.asarray(chips)[None, :]
