from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frm_mlflow.analysis.interval import Interval
from frm_mlflow.measure import estimate
from frm_mlflow.schema import min_samples

LATENCIES = st.floats(0.01, 1e4)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 30))
    return draw(arrays(float, n, elements=LATENCIES)), draw(arrays(float, n + 1, elements=LATENCIES))


def interval(model: np.ndarray, baseline: np.ndarray, seed: int = 0) -> Interval:
    rng = np.random.default_rng(seed)
    return estimate.ratio_interval(model, baseline, confidence=0.95, resamples=200, rng=rng)


@given(pairs())
def test_the_estimate_lies_in_its_interval(of: tuple[np.ndarray, np.ndarray]):
    found = interval(*of)
    assert found.low <= found.value <= found.high


@given(pairs(), st.floats(0.01, 100))
def test_the_unit_of_time_does_not_matter(of: tuple[np.ndarray, np.ndarray], unit: float):
    model, baseline = of
    found, other = interval(model, baseline), interval(unit * model, unit * baseline)
    assert other.value == pytest.approx(found.value)
    assert other.low == pytest.approx(found.low, abs=1e-9 * found.value)
    assert other.high == pytest.approx(found.high)


@given(pairs(), st.floats(0.1, 10))
def test_a_model_that_is_slower_by_a_factor_has_that_ratio(of: tuple[np.ndarray, np.ndarray], factor: float):
    model, baseline = of
    assert interval(factor * model, baseline).value == pytest.approx(factor * interval(model, baseline).value)


@given(pairs())
def test_inputs_are_left_alone_and_the_same_seed_gives_the_same(of: tuple[np.ndarray, np.ndarray]):
    before = [array.copy() for array in of]
    assert interval(*of) == interval(*of)
    for array, copy in zip(of, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(st.integers(50, 98))
@settings(deadline=None, max_examples=20)
def test_higher_quantiles_need_more_samples(percentile: int):
    assert min_samples(percentile / 100) <= min_samples((percentile + 1) / 100)


def autoregression(rng: np.random.Generator, n: int, correlation: float) -> np.ndarray:
    steps = rng.standard_normal(n) * np.sqrt(1 - correlation**2)
    values = np.empty(n)
    values[0] = rng.standard_normal()
    for k in range(1, n):
        values[k] = correlation * values[k - 1] + steps[k]
    return values


@pytest.mark.parametrize(
    ("pairs", "own_correlation", "least"),
    [(10, 0.0, 0.91), (20, 0.0, 0.92), (60, 0.0, 0.92), (20, 0.7, 0.91), (60, 0.7, 0.91)],
)
def test_the_intervals_cover_what_they_promise(pairs: int, own_correlation: float, least: float):
    """Check 95 % intervals over 400 simulated benchmarks of a machine whose speed wanders by 10 %.

    The wandering is shared and must cancel. Each block also has separate noise, and with
    `own_correlation` part of the model's noise persists across blocks.
    """
    rng = np.random.default_rng(pairs)
    covered = 0
    for _ in range(400):
        blocks = np.exp(0.1 * autoregression(rng, 2 * pairs + 1, 0.9) + 0.02 * rng.standard_normal(2 * pairs + 1))
        own = 0.02 * autoregression(rng, 2 * pairs + 1, own_correlation)[1::2]
        model = 0.25 * blocks[1::2] * np.exp(own)
        found = estimate.ratio_interval(model, blocks[::2], confidence=0.95, resamples=400, rng=rng)
        covered += found.low <= 0.25 <= found.high
    assert covered / 400 >= least


def test_the_median_of_correlated_blocks_is_covered():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        state = 0.05 * autoregression(rng, 40, 0.5)
        blocks = 10 * np.exp(state[:, None] + 0.02 * rng.standard_normal((40, 5)))
        found = estimate.median_interval(blocks, confidence=0.95, resamples=400, rng=rng)
        covered += found.low <= 10 <= found.high
    assert covered / 300 >= 0.88


@pytest.mark.parametrize(("model_sd", "baseline_sd"), [(0.02, 0.02), (0.0, 0.03), (0.03, 0.005)])
@pytest.mark.parametrize("shots", [5, 10])
def test_shot_intervals_cover_with_shared_baselines(shots: int, model_sd: float, baseline_sd: float):
    """Each shot is a process with a constant speed, while the phone slows down by 10 % as it heats up."""
    rng = np.random.default_rng(shots)
    heat = np.linspace(0, 0.1, 2 * shots + 1)
    covered = []
    for _ in range(1000):
        model = 0.25 * np.exp(heat[1::2] + model_sd * rng.standard_normal(shots))
        baseline = np.exp(heat[::2] + baseline_sd * rng.standard_normal(shots + 1))
        found = estimate.shared_baseline_interval(model, baseline, confidence=0.95)
        covered.append(found.low <= 0.25 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.99
