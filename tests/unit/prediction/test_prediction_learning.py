"""Left-out chips: the calibration and the selection that they give."""

import numpy as np
import pytest

from frm_mlflow.prediction.belief import Anchors, Belief, departures
from frm_mlflow.prediction.history import history_of
from frm_mlflow.prediction.learning import (
    CHOICES,
    Learnt,
    LeftOut,
    choose,
    corrected_level,
    fold_of,
    learn,
    left_out_rows,
    weighted_quantile,
)
from frm_mlflow.prediction.predictors import Points
from frm_mlflow.prediction.prior import Shrinkage
from tests.unit.prediction.histories import history_frame


@pytest.mark.parametrize(("level", "expected"), [(0.5, 2.0), (0.9, 4.0), (1.0, 4.0), (0.1, 1.0)])
def test_weighted_quantile_by_hand(level: float, expected: float) -> None:
    assert weighted_quantile(np.array([4.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0]), level) == expected


def test_each_chip_has_one_vote() -> None:
    values, weights = np.array([1.0] * 99 + [5.0]), np.array([1 / 99] * 99 + [1.0])
    assert weighted_quantile(values, weights, 0.6) == 5.0


def test_twins_never_see_their_own_chip() -> None:
    history = history_of(history_frame(devices=6))[0]
    fold = fold_of(history, history.groups[0], "latency")
    assert len(fold.twins) == 6
    assert all(twin.chip not in set(twin.history.chips) for twin in fold.twins)


def test_one_chip_leaves_nothing_out() -> None:
    history = history_of(history_frame(devices=1))[0]
    assert left_out_rows(history, history.log_latency, history.groups[0]).size == 0


def test_widening_makes_left_out_chips_covered_as_promised() -> None:
    rng = np.random.default_rng(0)
    locations = np.zeros((1, 200))
    twins = tuple(
        LeftOut(chip=f"c{i}", truth=0.4 * rng.normal(size=200), model=Points(locations=locations)) for i in range(50)
    )
    learnt = Learnt(name="points", model=Points(locations=locations), left_out=twins)
    belief, calibration = learnt.belief(Anchors.none(), 0.9)
    low, high = belief.interval(0.9)
    new = 0.4 * rng.normal(size=(100, 200))
    assert calibration.chips == 50
    assert np.mean((low <= new) & (new <= high)) == pytest.approx(0.906, abs=0.01)


def test_chips_that_miss_as_a_whole_are_worth_one_value_each() -> None:
    chips = np.repeat([f"c{i}" for i in range(10)], 40)
    whole = np.repeat(np.r_[np.zeros(9), 1.0], 40) + np.linspace(0, 0.01, 400)
    level = corrected_level(whole, np.ones(400), chips, 0.9)
    assert level == pytest.approx(0.9 * 11 / 10)


def test_independent_misses_count_as_many_values() -> None:
    chips = np.repeat([f"c{i}" for i in range(10)], 400)
    alone = np.random.default_rng(0).normal(size=4000)
    assert 0.9 < corrected_level(alone, np.ones(4000), chips, 0.9) < 0.902


def test_one_chip_is_worth_one_value() -> None:
    assert corrected_level(np.arange(9.0), np.ones(9), np.repeat(["c"], 9), 0.9) == 1.0


@pytest.mark.parametrize("within", [0.0, 0.5, 0.9])
def test_a_new_chip_is_covered_with_correlated_errors(within: float) -> None:
    """Simulate: 12 chips set the width for a thirteenth, whose models share `within` of the error's variance."""
    rng = np.random.default_rng(1)
    chips = np.repeat([f"c{i}" for i in range(12)], 30)
    covered = []
    for _ in range(300):
        own = np.sqrt(within) * rng.normal(size=(13, 1)) + np.sqrt(1 - within) * rng.normal(size=(13, 30))
        ratios = np.abs(own)
        level = corrected_level(ratios[:12].ravel(), np.ones(360), chips, 0.9)
        covered.append(np.mean(ratios[12] <= weighted_quantile(ratios[:12].ravel(), np.ones(360), level)))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.025)


def test_without_level_errors_are_relative() -> None:
    belief = Belief(
        location=np.zeros(3), factor=np.zeros((3, 0)), diagonal=np.ones(3), measured=np.zeros(3, dtype=bool)
    )
    np.testing.assert_allclose(departures(belief, np.array([5.0, 6.0, 7.0])), [-1, 0, 1])


def test_the_most_trusted_predictor_wins_unless_clearly_beaten() -> None:
    history = history_of(history_frame(devices=8))[0]
    fold = fold_of(history, history.groups[0], "latency")
    candidates = {name: learn(name, fold, settings=Shrinkage(), noise_sd=0.02) for name in CHOICES}
    choice = choose(candidates, Anchors.none(), history.facts.top1)
    assert choice.f1[choice.name] >= max(choice.f1.values()) - 0.05
    assert choice.f1["transfer"] > choice.f1["flops"]


def test_a_chip_with_many_configurations_has_one_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine configurations of one chip are well covered; one each of two other chips are not."""
    nothing = Points(locations=np.zeros((1, 4)))
    left_out = [LeftOut(chip="many", truth=np.ones(4), model=nothing) for _ in range(9)]
    left_out += [LeftOut(chip=chip, truth=np.full(4, 3.0), model=nothing) for chip in ("one", "other")]
    monkeypatch.setattr(Learnt, "_ratios", staticmethod(lambda item, anchors, confidence: item.truth))
    learnt = Learnt(name="any", model=nothing, left_out=tuple(left_out))
    found = learnt.calibration(Anchors.of_row(np.zeros(4), np.array([], dtype=int)), 0.5)
    assert (found.widening, found.chips) == (3.0, 3)
