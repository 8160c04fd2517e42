from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from frm_mlflow.analysis.interval import Interval
from frm_mlflow.measure import estimate
from frm_mlflow.schema import min_samples


@pytest.mark.parametrize(("quantile", "samples"), [(0.90, 64), (0.99, 662), (0.95, 130), (0.97, 219)])
def test_quantiles_need_what_loadgens_early_stopping_needs(quantile: float, samples: int):
    """64 and 662 are printed in MLPerf's inference rules; the bound itself is the binomial's."""
    assert min_samples(quantile) == samples
    assert stats.binom.cdf(1, samples, 1 - quantile) <= 0.01 < stats.binom.cdf(1, samples - 1, 1 - quantile)


@pytest.mark.parametrize(
    ("count", "reported"), [(63, []), (64, [0.90]), (130, [0.90, 0.95]), (662, [0.90, 0.95, 0.99])]
)
def test_a_quantile_without_enough_samples_is_not_reported(count: int, reported: list[float]):
    samples = np.random.default_rng(0).gamma(2.0, size=count)
    found = estimate.quantiles(samples)
    assert list(found) == reported
    assert all(value == np.quantile(samples, q) for q, value in found.items())


def test_block_cv_is_scipys_variation():
    medians = np.random.default_rng(0).gamma(9.0, size=12)
    assert estimate.block_cv(medians) == pytest.approx(stats.variation(medians, ddof=1))
    assert math.isnan(estimate.block_cv(np.array([1.0])))


def test_drift_detects_a_slowing_machine_and_not_a_noisy_one():
    rng = np.random.default_rng(0)
    noisy = 1 + 0.02 * rng.standard_normal(60)
    assert not estimate.drift(noisy).is_significant
    throttled = noisy * np.linspace(1, 1.2, 60)
    found = estimate.drift(throttled)
    assert found.is_significant
    fifths = np.split(throttled, 5)
    assert found.change == np.median(fifths[-1]) / np.median(fifths[0]) - 1


def test_few_blocks_show_no_drift():
    assert estimate.drift(np.array([1.0, 2.0, 3.0, 4.0])) == estimate.Drift(0.0, is_significant=False)
    assert not estimate.drift(np.array([1.0, 1.0, 1.0, 9.0, 9.0, 9.0])).is_significant


def interval(model, baseline, seed: int = 0) -> Interval:
    rng = np.random.default_rng(seed)
    return estimate.ratio_interval(model, baseline, confidence=0.95, resamples=1000, rng=rng)


def test_the_ratio_is_the_median_of_the_pairs():
    baseline = np.array([10.0, 10.0, 10.0, 40.0, 40.0, 40.0, 40.0])
    model = np.array([5.0, 5.0, 10.0, 20.0, 20.0, 20.0])
    found = interval(model, baseline)
    assert found.value == pytest.approx(0.5)
    assert np.median(model) / np.median(baseline) == pytest.approx(0.375)


def test_a_steady_slowing_down_cancels_in_each_pair():
    slower = 1.05 ** np.arange(41)
    np.testing.assert_allclose(estimate.paired_ratios(0.25 * slower[1::2], slower[::2]), 0.25)


def test_a_model_block_needs_a_baseline_block_after_it():
    with pytest.raises(ValueError, match="2 baseline blocks around"):
        estimate.paired_ratios(np.ones(1), np.ones(1))


def test_the_interval_of_independent_pairs_is_scipys():
    rng = np.random.default_rng(3)
    ratios = rng.lognormal(0, 0.1, size=80)
    ours = interval(ratios, np.ones(81))
    widening = stats.t.ppf(0.975, 39) / stats.norm.ppf(0.975) * np.sqrt(80 / 78)
    theirs = stats.bootstrap((ratios,), np.median, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert ours.high - ours.low == pytest.approx(widening * (theirs.high - theirs.low), rel=0.15)


def test_the_median_is_of_all_runs_and_its_interval_of_blocks():
    rng = np.random.default_rng(0)
    state = rng.normal(0, 0.1, size=(30, 1))
    blocks = np.exp(state + rng.normal(0, 0.01, size=(30, 20)))
    found = estimate.median_interval(blocks, confidence=0.95, resamples=1000, rng=rng)
    assert found.value == np.median(blocks)
    as_if_independent = stats.bootstrap((blocks.ravel(),), np.median, n_resamples=500, method="percentile", rng=0)
    width = as_if_independent.confidence_interval
    assert found.high - found.low > 2 * (width.high - width.low)


def test_slow_movement_makes_neighbours_belong_together():
    rng = np.random.default_rng(0)
    assert estimate.dependence_length(rng.standard_normal(200)) <= 2
    walk = np.cumsum(rng.standard_normal(200))
    assert estimate.dependence_length(walk) > 5
    assert estimate.dependence_length(np.ones(50)) == 1
    assert estimate.dependence_length(np.array([1.0, 2.0])) == 1


def test_the_half_width_is_relative():
    assert Interval(2.0, 1.9, 2.1).relative_half_width == pytest.approx(0.05)
    assert Interval(0.0, 0.0, 0.0).relative_half_width == math.inf


def test_the_interval_over_launches_is_scipys_of_logarithms():
    ratios = np.random.default_rng(0).lognormal(-1, 0.02, size=6)
    logs = np.log(ratios)
    low, high = stats.t.interval(0.9, 5, loc=logs.mean(), scale=stats.sem(logs))
    found = estimate.launch_interval(float(np.exp(logs.mean())), ratios, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))


@pytest.mark.parametrize("launches", [[1.0], [1.0, 1.0, 1.0]])
def test_one_launch_and_equal_launches_have_no_interval(launches: list[float]):
    found = estimate.launch_interval(1.0, launches, confidence=0.95)
    assert found.value == 1.0
    assert not found.is_known


def test_the_second_stage_is_no_narrower_than_steins_interval():
    """Stein (1945): the first stage's standard deviation and Student factor, with the mean of all samples."""
    rng = np.random.default_rng(0)
    logs = np.concatenate([0.03 * rng.standard_normal(5), 0.001 * rng.standard_normal(4)])
    half = stats.t.ppf(0.975, 4) * logs[:5].std(ddof=1) / 3
    found = estimate.launch_interval(float(np.exp(logs.mean())), np.exp(logs), confidence=0.95, first=5)
    assert (np.log(found.low), np.log(found.high)) == pytest.approx((logs.mean() - half, logs.mean() + half))


@pytest.mark.parametrize("spread", [0.001, 0.02, 0.05])
def test_launches_are_added_until_steins_interval_is_met(spread: float):
    first = np.exp(spread * np.random.default_rng(1).standard_normal(5))
    needed = estimate.needed_launches(first, confidence=0.95, target=0.03)
    half = stats.t.ppf(0.975, 4) * np.log(first).std(ddof=1) / np.sqrt([needed - 1, needed])
    assert np.expm1(half[1]) <= 0.03
    assert needed == 5 or np.expm1(half[0]) > 0.03


def test_the_median_over_launches_is_of_all_runs():
    rng = np.random.default_rng(0)
    sizes = ((4, 5), (3, 5), (4, 6))
    launches = [rng.lognormal(luck, 0.01, size=size) for luck, size in zip((0.0, 0.1, 0.2), sizes, strict=True)]
    found = estimate.median_over_launches(launches, confidence=0.95)
    assert found.value == np.median([time for launch in launches for time in launch.flat])
    assert found.low < np.median(launches[0])
    assert found.high > np.median(launches[2])
