"""Frontiers of many draws at once against the frontier of one draw at a time."""

import numpy as np

from frm_mlflow.analysis.pareto import frontier, memberships
from frm_mlflow.prediction.draws import rivals


def test_every_draw_has_the_frontier_that_pareto_finds() -> None:
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 6, (200, 9)).astype(float)  # with ties
    values = rng.integers(60, 66, 9).astype(float)
    values[3] = np.nan
    found = memberships(draws, values)
    for draw, members in zip(draws, found, strict=True):
        np.testing.assert_array_equal(members, frontier(draw, values))


def test_a_model_without_a_prediction_is_not_on_a_frontier() -> None:
    draws = np.array([[np.nan, 1.0, 2.0]] * 3)
    assert memberships(draws, np.array([99.0, 70.0, 75.0])).tolist() == [[False, True, True]] * 3


def test_no_model_at_all() -> None:
    assert memberships(np.zeros((4, 0)), np.zeros(0)).shape == (4, 0)


def test_even_odds_are_named_near_ties() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(4000, 3)) * 0.1 + np.array([1.0, 1.0, 5.0])
    values = np.array([70.0, 71.0, 80.0])
    probability = memberships(draws, values).mean(axis=0)
    (tie,) = rivals(draws, values, probability)
    assert tie[:2] == (0, 1)
    assert 0.4 < tie[2] < 0.6
