"""What to measure next."""

import numpy as np
import pytest

from frm_mlflow.analysis.pareto import memberships
from frm_mlflow.prediction.planning import frontier_doubt, next_models

EVERYTHING = np.ones(4, dtype=bool)


def test_the_model_that_decides_the_frontier_comes_first() -> None:
    rng = np.random.default_rng(0)
    draws = np.column_stack(
        [np.zeros(3000), 1 + 1e-3 * rng.normal(size=3000), 2 + rng.normal(size=3000), 9 + 1e-3 * rng.normal(size=3000)]
    )
    top1 = np.array([60.0, 70.0, 71.0, 80.0])
    picked = next_models(draws, memberships(draws, top1), EVERYTHING, n=1, latency_share=0.0)
    assert picked.tolist() == [2]


def test_a_model_that_only_repeats_an_earlier_pick_comes_last() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=3000)
    draws = np.column_stack([shared, shared, rng.normal(size=3000) * 0.5, rng.normal(size=3000) * 0.4])
    picked = next_models(draws, np.zeros(draws.shape, dtype=bool), EVERYTHING, n=4, latency_share=1.0)
    assert picked[1] == 2
    assert set(picked.tolist()[:3]) == {picked[0], 2, 3}


def test_nothing_uncertain_leaves_nothing_to_measure() -> None:
    draws = np.zeros((100, 4))
    assert next_models(draws, np.zeros((100, 4), dtype=bool), EVERYTHING, n=3).size == 0


def test_only_allowed_models_are_picked() -> None:
    draws = np.random.default_rng(2).normal(size=(500, 4))
    allowed = np.array([False, True, False, True])
    picked = next_models(draws, np.zeros((500, 4), dtype=bool), allowed, n=9)
    assert sorted(picked.tolist()) == [1, 3]


def test_doubt_counts_expected_errors() -> None:
    assert frontier_doubt(np.array([0.0, 1.0, 0.5, 0.9])) == pytest.approx(0.6)
