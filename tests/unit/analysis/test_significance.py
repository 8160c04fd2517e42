from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import PermutationMethod, mannwhitneyu, permutation_test, rankdata, spearmanr, wilcoxon

from frm_mlflow.analysis.significance import bonferroni, holm, mann_whitney, signed_ranks, spearman_p


def test_mann_whitney_is_scipys_with_nan_ignored():
    a, b = np.array([1.0, 5.0, np.nan, 3.0]), np.array([2.0, 8.0, 9.0, 7.0])
    found = mann_whitney(a, b)
    expected = mannwhitneyu([1, 5, 3], b)
    assert (found.u, found.p) == (expected.statistic, expected.pvalue)
    assert (found.n_a, found.n_b, found.largest_u) == (3, 4, 12)


def test_cliffs_delta_by_counting_pairs():
    a, b = [1.0, 5.0, 3.0], [2.0, 8.0]
    assert mann_whitney(a, b).cliffs_delta == pytest.approx((2 - 4) / 6)  # 5 and 3 above 2; four pairs the other way


def test_four_chips_against_eleven_fail_after_correction():
    test = mann_whitney(np.arange(4), np.arange(10, 21))
    assert test.p == pytest.approx(test.smallest_p) == 2 / comb(15, 4)
    assert test.smallest_p < 0.05
    four_against_four = mann_whitney(np.arange(4), np.arange(10, 14))
    assert four_against_four.smallest_p * 12 > 0.05


@pytest.mark.parametrize(("n", "m"), [(3, 3), (2, 7), (5, 6), (7, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_mann_whitney_with_ties_is_scipys_over_all_permutations(n, m, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, n), rng.integers(1, 5, m)
    oracle = mannwhitneyu(a, b, method=PermutationMethod(n_resamples=100_000))
    found = mann_whitney(a, b)
    assert (found.u, found.p) == (oracle.statistic, pytest.approx(oracle.pvalue))


def test_ties_raise_the_smallest_p_that_samples_can_give():
    values = np.array([1, 1, 1, 2, 2, 2])
    every = [mann_whitney(values[list(k)], np.delete(values, list(k))).p for k in combinations(range(6), 3)]
    assert mann_whitney(values[:3], values[3:]).smallest_p == pytest.approx(min(every)) == 2 / comb(6, 3)
    equal = mann_whitney([2, 2, 2, 2], [2, 2, 2])
    assert (equal.p, equal.smallest_p) == (1, 1)


def test_mann_whitney_without_ties_equals_scipys_exact_test():
    a, b = np.random.default_rng(0).random((2, 25))
    assert mann_whitney(a, b).p == pytest.approx(mannwhitneyu(a, b, method="exact").pvalue)


@pytest.mark.parametrize("n", [4, 9, 30])
def test_signed_ranks_are_scipys(n):
    a, b = np.random.default_rng(n).random((2, n))
    assert signed_ranks(a, b).p == pytest.approx(wilcoxon(a, b, method="exact").pvalue)


@pytest.mark.parametrize("seed", range(4))
def test_signed_ranks_with_ties_are_scipys_over_all_signs(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(1, 5, 9).astype(float), rng.integers(1, 6, 9).astype(float)
    moved = (a - b)[a != b]
    found = signed_ranks(np.append(a, np.nan), np.append(b, 1.0))
    oracle = permutation_test(
        (moved,), lambda v: rankdata(np.abs(v)) @ (v > 0), permutation_type="samples", vectorized=False
    )
    assert found.n == 9
    assert found.p == pytest.approx(oracle.pvalue)
    assert found.smallest_p == 2 / 2**moved.size


def test_pairs_that_do_not_differ_are_no_evidence():
    assert signed_ranks([1, 2, 3], [1, 2, 3]).p == 1
    assert np.isnan(signed_ranks([], []).p)


def test_empty_samples_are_no_test():
    test = mann_whitney([], [1.0])
    assert np.isnan(test.p)
    assert test.smallest_p == 1


@pytest.mark.parametrize("n", [5, 6, 7])
def test_spearman_p_is_exact_for_few_models(n):
    rng = np.random.default_rng(n)
    x, y = rng.random((2, n))
    rho = float(spearmanr(x, y).statistic)
    oracle = permutation_test(
        (x,), lambda v: spearmanr(v, y).statistic, permutation_type="pairings", n_resamples=10_000
    )
    expected = np.mean(np.abs(oracle.null_distribution) >= abs(rho) - 1e-9)
    assert spearman_p(rho, x, y) == pytest.approx(expected)


def test_spearman_p_is_students_t_for_many_models():
    x, y = np.random.default_rng(2).random((2, 20))
    result = spearmanr(x, y)
    assert spearman_p(float(result.statistic), x, y) == pytest.approx(result.pvalue)


def test_spearman_p_of_too_few_is_nan():
    assert np.isnan(spearman_p(1.0, [1, 2], [1, 2]))


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04, never falling: 0.04, 0.06, 0.06, 0.06.
    assert holm([0.03, 0.01, 0.04, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_is_between_the_plain_p_and_bonferroni():
    p = np.random.default_rng(3).random(30) * 0.1
    assert (holm(p) >= p).all()
    assert (holm(p) <= bonferroni(p)).all()


def test_missing_tests_do_not_count():
    assert bonferroni([0.01, np.nan, 0.02]).tolist()[0] == 0.02
    assert holm([0.01, np.nan])[0] == 0.01
    assert np.isnan(holm([0.01, np.nan])[1])
