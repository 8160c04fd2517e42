from math import comb

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, permutation_test, spearmanr

from frm_mlflow.analysis.significance import bonferroni, holm, mann_whitney, spearman_p


def test_mann_whitney_is_scipys_with_nan_ignored():
    a, b = np.array([1.0, 5.0, np.nan, 3.0]), np.array([2.0, 8.0, 9.0, 7.0])
    found = mann_whitney(a, b)
    expected = mannwhitneyu([1, 5, 3], b)
    assert (found.u, found.p) == (expected.statistic, expected.pvalue)
    assert (found.n_a, found.n_b, found.largest_u) == (3, 4, 12)


def test_cliffs_delta_by_counting_pairs():
    a, b = [1.0, 5.0, 3.0], [2.0, 8.0]
    assert mann_whitney(a, b).cliffs_delta == pytest.approx((2 - 4) / 6)  # 5 and 3 above 2; four pairs the other way


def test_four_chips_against_eleven_could_be_significant_once_but_not_after_correction_for_12_models():
    test = mann_whitney(np.arange(4), np.arange(10, 21))
    assert test.p == pytest.approx(test.smallest_p) == 2 / comb(15, 4)
    assert test.smallest_p < 0.05
    four_against_four = mann_whitney(np.arange(4), np.arange(10, 14))
    assert four_against_four.smallest_p * 12 > 0.05


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
