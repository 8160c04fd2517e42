import numpy as np
import pytest
from paretoset import paretoset

from frm_mlflow.analysis.pareto import frontier, hypervolume, regret, score
from frm_mlflow.errors import DataError


def naive_frontier(costs, values, dominance):
    """Equation 5 literally: no other point dominates it."""
    kept = []
    for cost, value in zip(costs, values, strict=True):
        strict = (values > value) & (costs < cost)
        weak = (values >= value) & (costs <= cost) & ((values > value) | (costs < cost))
        kept.append(not (strict if dominance == "strict" else weak).any() and np.isfinite(cost) and np.isfinite(value))
    return np.array(kept, dtype=bool)


@pytest.mark.parametrize("dominance", ["strict", "any"])
def test_equals_naive_twin_on_grids_full_of_ties(dominance):
    rng = np.random.default_rng(1)
    for _ in range(200):
        costs, values = rng.integers(0, 8, (2, rng.integers(1, 40))).astype(float)
        assert (
            frontier(costs, values, dominance=dominance).tolist() == naive_frontier(costs, values, dominance).tolist()
        )


@pytest.mark.parametrize("dominance", ["strict", "any"])
@pytest.mark.parametrize("shape", ["cloud", "rising", "ties", "one cost", "heavy tail"])
def test_thinned_frontier_equals_the_naive_one(dominance, shape):
    rng = np.random.default_rng(2)
    n = 3000
    cost = rng.random(n)
    costs, values = {
        "cloud": (cost, rng.random(n)),
        "rising": (cost, cost + 0.05 * rng.normal(size=n)),
        "ties": (np.round(cost, 2), np.round(rng.random(n), 2)),
        "one cost": (np.ones(n), rng.random(n)),
        "heavy tail": (rng.standard_cauchy(n), rng.standard_cauchy(n)),
    }[shape]
    assert frontier(costs, values, dominance=dominance).tolist() == naive_frontier(costs, values, dominance).tolist()


def test_usual_definition_equals_paretoset():
    rng = np.random.default_rng(3)
    points = rng.integers(0, 60, (2000, 2)).astype(float)
    expected = paretoset(points, sense=["min", "max"], distinct=False)
    assert frontier(points[:, 0], points[:, 1], dominance="any").tolist() == expected.tolist()


def test_strict_dominance_keeps_models_tied_in_one_metric():
    costs, values = [1.0, 2.0, 1.0], [70.0, 70.0, 60.0]
    assert frontier(costs, values).tolist() == [True, True, True]
    assert frontier(costs, values, dominance="any").tolist() == [True, False, False]


def test_missing_points_are_never_optimal_and_dominate_nothing():
    costs = [np.nan, 1.0, 2.0, -np.inf, 0.0]
    values = [99.0, 70.0, 60.0, 99.0, np.nan]
    assert frontier(costs, values).tolist() == [False, True, False, False, False]


def test_no_points_no_frontier():
    assert frontier([], []).tolist() == []


def test_unequal_lengths_are_refused():
    with pytest.raises(DataError, match="one length"):
        frontier([1, 2], [1])


def test_100_000_points_equal_paretoset():
    # `benchmarks/prediction.py --speed` compares their speed: a busy machine must not fail a test.
    points = np.random.default_rng(4).random((100_000, 2))
    expected = paretoset(points, sense=["min", "max"], distinct=False)
    assert frontier(points[:, 0], points[:, 1], dominance="any").tolist() == expected.tolist()


def test_hypervolume_by_hand():
    # Two steps up to the reference (4, 0): from 1 to 2 at height 1, from 2 to 4 at height 3.
    assert hypervolume([1, 2, 3], [1, 3, 2], reference=(4, 0)) == 1 * 1 + 2 * 3


def test_hypervolume_ignores_what_lies_beyond_the_reference():
    assert hypervolume([1, 5, np.nan], [2, 9, 9], reference=(3, 1)) == 2 * 1
    assert hypervolume([], [], reference=(1, 0)) == 0


def test_hypervolume_against_a_grid_count():
    rng = np.random.default_rng(5)
    costs, values = rng.integers(0, 20, (2, 15)).astype(float)
    cells = [(x, y) for x in range(20) for y in range(20)]
    covered = sum(any(c <= x and v >= y + 1 for c, v in zip(costs, values, strict=True)) for x, y in cells)
    assert hypervolume(costs, values, reference=(20, 0)) == covered


def test_regret_is_zero_on_the_frontier_and_matches_a_hand_value():
    costs, values = [1.0, 2.0, 3.0], [60.0, 70.0, 80.0]
    assert regret([True, True, True], costs, values) == 0
    # Budgets 1, 2, 3: best 60, 70, 80; with the middle one only: 60 (stand-in), 70, 70.
    assert regret([False, True, False], costs, values) == pytest.approx(10 / 3)


def test_regret_counts_budget_ties_with_all_models_of_that_cost():
    assert regret([True, False], [1.0, 1.0], [60.0, 80.0]) == 20


def test_regret_without_models_is_nan():
    assert np.isnan(regret([True], [np.nan], [70.0]))


def test_score_by_hand():
    result = score([True, True, False, False], [True, False, True, True])
    assert (result.precision, result.recall, result.n_predicted, result.n_true) == (1 / 2, 1 / 3, 2, 3)
    assert result.f1 == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))


def test_score_is_zero_without_overlap_and_nan_without_frontier():
    assert score([True, False], [False, True]).f1 == 0
    assert np.isnan(score([False], [True]).f1)
    with pytest.raises(DataError, match="different model sets"):
        score([True], [True, False])


def test_inputs_are_not_changed():
    costs, values = np.array([2.0, 1.0]), np.array([1.0, 2.0])
    frontier(costs, values)
    assert (costs.tolist(), values.tolist()) == ([2.0, 1.0], [1.0, 2.0])
