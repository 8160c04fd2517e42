"""The docs' claims about intervals, flags and tests, simulated with known truth (`benchmarks/simulations.py`).

With the few repeats of a normal test run, results scatter by about 0.01; the slow tests have enough for the claim.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import simulations
from benchmarks.simulations import CHIPS, MACHINES, Chips, Machine
from frm_mlflow.gate.checks import Verdict

FEW, MANY = 200, 4000
WANDERING = next(machine for machine in MACHINES if machine.wander == 0.05)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def within(share: float, low: float, high: float, *, repeats: int) -> bool:
    """Whether a simulated share is between `low` and `high`, within three standard errors."""
    slack = 0.0 if repeats == MANY else 3 * np.sqrt(0.05 * 0.95 / repeats)
    return low - slack <= share <= high + slack


@pytest.mark.parametrize("most", [simulations.MOST, 7], ids=["whole", "cut short"])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_default_benchmarks_cover_the_true_ratio(machine: Machine, most: int):
    found = simulations.measured(machine, rng(), repeats=FEW, most=most)
    assert within(found.covered.mean(), 0.93, 0.975, repeats=FEW)


@pytest.mark.slow
@pytest.mark.parametrize("most", [simulations.MOST, 7], ids=["whole", "cut short"])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_default_benchmarks_cover_the_true_ratio_at_length(machine: Machine, most: int):
    found = simulations.measured(machine, rng(1), repeats=MANY, most=most)
    assert within(found.covered.mean(), 0.93, 0.975, repeats=MANY)


def test_a_quiet_machine_needs_the_first_stage_only():
    assert simulations.measured(MACHINES[1], rng(), repeats=FEW).launches.mean() < 5.1


def test_flagged_benchmarks_have_larger_errors_of_the_ratio():
    errors, flagged = simulations.flags(120)
    assert 0.02 < flagged.mean() < 0.3
    assert np.quantile(errors[flagged], 0.95) > 1.2 * np.quantile(errors[~flagged], 0.95)


def test_a_wandering_machine_flags_few():
    """Drift affects both models equally, so it does not affect the ratio."""
    assert simulations.measured(WANDERING, rng(), repeats=FEW).unstable.mean() < 0.05


def test_steady_machines_seldom_show_a_drift():
    for trend, drift in simulations.drift_rates(FEW).values():
        assert within(trend, 0.0, 0.05, repeats=FEW)
        assert within(drift, 0.0, 0.05, repeats=FEW)


def test_a_machine_that_slows_down_shows_a_drift():
    slower = next(machine for machine in MACHINES if machine.drift)
    assert simulations.measured(slower, rng(), repeats=100, most=5).trends()[1] > 0.5


@pytest.mark.parametrize("n_chips", simulations.NUMBERS_OF_CHIPS)
@pytest.mark.parametrize("figure", CHIPS, ids=lambda figure: figure.name)
def test_intervals_over_few_chips_cover_the_mean(figure: Chips, n_chips: int):
    share = simulations.chip_coverage(figure, n_chips, rng(n_chips), repeats=1000)
    assert within(share, figure.least, 1.0, repeats=1000)


@pytest.mark.slow
@pytest.mark.parametrize("n_chips", simulations.NUMBERS_OF_CHIPS)
@pytest.mark.parametrize("figure", CHIPS, ids=lambda figure: figure.name)
def test_intervals_over_few_chips_cover_the_mean_at_length(figure: Chips, n_chips: int):
    share = simulations.chip_coverage(figure, n_chips, rng(10 + n_chips), repeats=MANY)
    assert within(share, figure.least, 1.0, repeats=MANY)


@pytest.mark.parametrize("n_chips", simulations.NUMBERS_OF_CHIPS)
def test_intervals_over_pairs_of_chips_cover_the_mean(n_chips: int):
    assert within(simulations.pair_coverage(n_chips, rng(3), repeats=FEW), 0.92, 1.0, repeats=FEW)


@pytest.mark.parametrize("memory_sd", [0.0005, 0.007, 0.024])
def test_frm_is_covered_whatever_memory_varies_by(memory_sd: float):
    """Measured memory peaks vary by 0.05 to 2.4 %, depending on the runtime."""
    share = simulations.frm_coverage(0.01, memory_sd, rng(), repeats=1000)
    assert within(share, 0.93, 0.99, repeats=1000)


def test_a_gate_at_its_limit_errs_within_its_confidence():
    """Over four looks, either verdict is wrong, since the true FRM equals the limit."""
    found = simulations.gate_verdicts(1.0, rng(), repeats=500)
    assert found[Verdict.FAIL] + found[Verdict.PASS] <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize(
    ("truth", "right", "wrong"), [(0.95, Verdict.PASS, Verdict.FAIL), (1.05, Verdict.FAIL, Verdict.PASS)]
)
def test_a_gate_decides_rightly_five_per_cent_from_its_limit(truth: float, right: Verdict, wrong: Verdict):
    found = simulations.gate_verdicts(truth, rng(), repeats=300)
    assert found[right] > 0.9
    assert found[wrong] < 0.01


def test_tests_find_no_more_differences_than_their_level():
    for share in simulations.false_alarms(rng(), repeats=1000).values():
        assert share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def test_pairs_find_a_difference_that_chips_hide():
    by_pairs, unpaired = simulations.power_of_pairs(rng(), repeats=200)
    assert by_pairs > 0.9
    assert unpaired < 0.2
