from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from frm_mlflow.worker.identity import agreement


def test_cosine_is_scipys_and_errors_are_numpys():
    rng = np.random.default_rng(0)
    want = rng.standard_normal((2, 50)).astype(np.float32)
    got = want + 0.1 * rng.standard_normal(want.shape).astype(np.float32)
    result = agreement([got], [want])
    assert result.cosine == pytest.approx(1 - cosine(got.ravel(), want.ravel()), abs=1e-6)
    assert result.max_abs_error == pytest.approx(np.abs(got - want).max(), rel=1e-5)
    assert result.max_rel_error == pytest.approx(np.abs(got - want).max() / np.abs(want).max(), rel=1e-5)
    assert result.finite


def test_the_worst_of_several_outputs_counts():
    good, bad = np.array([1.0, 2.0]), np.array([2.0, -1.0])
    assert agreement([good, bad], [good, good]).cosine == pytest.approx(0.0)
    assert agreement([good, bad], [good, good]).max_abs_error == 3.0


def test_a_value_that_is_not_finite_is_told():
    result = agreement([np.array([1.0, np.nan])], [np.array([1.0, 2.0])])
    assert not result.finite
    assert math.isnan(result.cosine)


def test_only_zeros_agree_with_zeros():
    zeros = np.zeros(3)
    assert agreement([zeros], [zeros]).cosine == 1.0
    other = agreement([np.ones(3)], [zeros])
    assert other.cosine == 0.0
    assert other.max_rel_error == 1.0


def test_a_batch_flattened_by_the_runtime_is_the_same_output():
    want = np.arange(6.0).reshape(1, 6)
    assert agreement([want.ravel()], [want]).cosine == pytest.approx(1.0)


@pytest.mark.parametrize(("got", "want"), [([], [np.ones(2)]), ([np.ones(3)], [np.ones(2)])])
def test_another_number_or_size_of_outputs_is_another_function(got, want):
    with pytest.raises(ValueError, match="but the reference"):
        agreement(got, want)


def test_an_output_within_rounding_does_not_hide_another_s_error():
    tiny, large = np.array([1e-7, 2e-7]), np.array([1.0, 2.0])
    result = agreement([tiny[::-1] * 0.9, large * 1.5], [tiny, large])
    assert result.cosine == pytest.approx(1.0)
    assert result.max_rel_error == pytest.approx(0.5)


def test_integers_and_text_agree_by_their_equal_share():
    ids = np.arange(100)
    other = ids.copy()
    other[0] = 10_000
    assert agreement([other], [ids]).cosine == pytest.approx(0.99)
    assert agreement([other], [ids]).max_rel_error == pytest.approx(0.01)
    words = np.array(["a", "b", "c", "d"])
    assert agreement([words], [words]).cosine == 1.0
    assert agreement([np.array(["a", "b", "c", "x"])], [words]).cosine == pytest.approx(0.75)
