from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata, spearmanr

from frm_mlflow.analysis.ranks import kendall_tau_b, mean_percent_ranks, pairs, ranks, row_spearman, spearman


@pytest.fixture
def gappy():
    """Return rows with ties and gaps."""
    rng = np.random.default_rng(3)
    values = rng.integers(0, 9, (12, 11)).astype(float)
    return np.where(rng.random(values.shape) < 0.2, np.nan, values)


def common(x, y):
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both]


def test_ranks_are_scipys_and_missing_cells_take_none(gappy):
    for row, ranked in zip(gappy, ranks(gappy), strict=True):
        known = np.isfinite(row)
        assert ranked[known].tolist() == rankdata(row[known]).tolist()
        assert np.isnan(ranked[~known]).all()


def test_mean_percent_ranks_are_exact_fractions(gappy):
    found = mean_percent_ranks(gappy)
    for place, column in enumerate(gappy.T):
        shares = []
        for row in gappy[np.isfinite(column)]:
            known = np.isfinite(row)
            twice = int(2 * rankdata(row[known])[known[:place].sum()])
            shares.append(Fraction(twice - 1, 2 * int(known.sum())))
        assert found[place] == float(sum(shares, Fraction(0)) / len(shares))


def test_a_model_that_no_row_has_takes_no_mean_rank():
    assert np.isnan(mean_percent_ranks(np.array([[1.0, np.nan], [2.0, np.nan]]))).tolist() == [False, True]


def test_no_order_of_rows_splits_equal_mean_ranks():
    rows = np.array([[1.0, 2, 3], [2, 1, 3], [1, 2, 3], [2, 1, 3], [1, 2, 3], [2, 1, 3]])
    for seed in range(20):
        first, second, _ = mean_percent_ranks(rows[np.random.default_rng(seed).permutation(6)])
        assert first == second


@pytest.mark.parametrize("function", [spearman, kendall_tau_b])
def test_pairwise_correlations_over_common_models_equal_scipy(gappy, function):
    oracle = spearmanr if function is spearman else kendalltau
    found = function(gappy[:5], gappy[5:], min_models=4)
    found = found[0] if function is spearman else found
    for i in range(5):
        for j in range(7):
            x, y = common(gappy[i], gappy[5 + j])
            expected = oracle(x, y).statistic if len(x) >= 4 else np.nan
            assert found[i, j] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_complete_rows_take_the_short_way_to_the_same_numbers():
    rng = np.random.default_rng(4)
    values = rng.integers(0, 9, (6, 8)).astype(float)
    padded = np.column_stack([values, np.full(6, np.nan)])
    assert spearman(values, values, min_models=3)[0] == pytest.approx(spearman(padded, padded, min_models=3)[0])


def test_too_few_common_models_is_no_number():
    x = np.array([[1.0, 2.0, 3.0, np.nan, np.nan]])
    y = np.array([[np.nan, 1.0, 2.0, 3.0, 4.0]])
    rho, n = spearman(x, y, min_models=3)
    assert np.isnan(rho[0, 0])
    assert n[0, 0] == 2


def test_all_ties_is_no_number():
    rho, _ = spearman(np.ones((1, 5)), np.arange(5.0)[None], min_models=3)
    assert np.isnan(rho[0, 0])


def test_row_by_row_equals_the_diagonal(gappy):
    other = gappy[::-1]
    assert row_spearman(gappy, other, min_models=4) == pytest.approx(
        np.diag(spearman(gappy, other, min_models=4)[0]), abs=1e-6, nan_ok=True
    )


def test_pairs_are_the_finite_cells_above_the_diagonal():
    matrix = np.array([[1.0, 0.5, np.nan], [0.5, 1.0, 0.25], [np.nan, 0.25, 1.0]])
    assert pairs(matrix).tolist() == [0.5, 0.25]
    assert pairs(matrix, np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]], dtype=bool)).tolist() == [0.5]


def test_many_models_are_sorted_pair_by_pair_to_the_same_numbers():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 50, (4, 300)).astype(float)
    values[rng.random(values.shape) < 0.3] = np.nan
    rho, _ = spearman(values, values[::-1], min_models=5)
    for i in range(4):
        for j in range(4):
            assert rho[i, j] == pytest.approx(spearmanr(*common(values[i], values[3 - j])).statistic)
