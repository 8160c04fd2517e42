"""The empirical-Bayes prior: its parts against least squares and known true values."""

import numpy as np
import pytest

from frm_mlflow.errors import DataError
from frm_mlflow.prediction.prior import Profiles, Shrinkage, fit_prior, mean_profile, with_level

GROUP = np.array(["edge", "litert", "int8", "npu"], dtype=object)
OTHER = np.array(["edge", "onnxruntime", "fp16", "npu"], dtype=object)


def profiles(values: np.ndarray, *, other: int = 0) -> Profiles:
    groups = np.array([GROUP] * (len(values) - other) + [OTHER] * other, dtype=object)
    return Profiles(
        values=values, groups=groups, chips=np.array([f"chip{i}" for i in range(len(values))], dtype=object)
    )


def no_features(models: int) -> np.ndarray:
    return np.zeros((models, 0))


def test_mean_profile_is_the_least_squares_fit_with_gaps() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 1)) + rng.normal(size=5) + 0.1 * rng.normal(size=(6, 5))
    values[rng.random(values.shape) < 0.2] = np.nan
    rows, columns = np.nonzero(np.isfinite(values))
    design = np.zeros((rows.size, 11))
    design[np.arange(rows.size), rows] = design[np.arange(rows.size), 6 + columns] = 1
    solution = np.linalg.lstsq(design, values[rows, columns], rcond=None)[0]

    profile, _ = mean_profile(values, np.ones(6))

    np.testing.assert_allclose(profile, solution[6:] - solution[6:].mean(), atol=2e-3)


def test_the_device_level_does_not_enter_the_profile() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 7))
    profile, _ = mean_profile(values, np.ones(5))
    shifted, _ = mean_profile(values + rng.normal(size=(5, 1)), np.ones(5))
    np.testing.assert_allclose(profile, shifted, atol=1e-9)


def test_a_chip_counts_once_however_many_devices_carry_it() -> None:
    values = np.random.default_rng(2).normal(size=(3, 4))
    twice = Profiles(
        values=values[[0, 0, 1, 2]], groups=np.array([GROUP] * 4), chips=np.array(["a", "a", "b", "c"], dtype=object)
    )
    assert twice.weights(GROUP, 0.1).tolist() == [0.5, 0.5, 1, 1]


def test_unlike_configurations_weigh_less() -> None:
    both = profiles(np.random.default_rng(3).normal(size=(4, 5)), other=2)
    assert both.weights(GROUP, 0.1) == pytest.approx([1, 1, 0.01, 0.01])


def test_models_that_depart_together_are_learnt_to_do_so() -> None:
    rng = np.random.default_rng(4)
    departure = rng.normal(size=(60, 1)) * np.array([1, 1, 1, -1, -1, -1])
    values = rng.normal(size=6) + departure + 0.05 * rng.normal(size=(60, 6))
    belief = fit_prior(
        profiles(values), GROUP, no_features(6), np.array(["cnn"] * 6, dtype=object), Shrinkage(shrink=0.05)
    )
    covariance = belief.factor @ belief.factor.T
    assert covariance[0, 1] > 0.5
    assert covariance[0, 4] < -0.5


def test_one_chip_still_leaves_doubt() -> None:
    belief = fit_prior(
        profiles(np.zeros((1, 4)) + np.arange(4.0)),
        GROUP,
        no_features(4),
        np.array(["cnn"] * 4, dtype=object),
        Shrinkage(),
    )
    assert (belief.scale > 0.1).all()


def test_one_anchor_settles_the_level() -> None:
    values = np.random.default_rng(5).normal(size=(8, 5)) * 0.05 + np.arange(5.0)
    belief = fit_prior(profiles(values), GROUP, no_features(5), np.array(["cnn"] * 5, dtype=object), Shrinkage())
    after = with_level(belief).given(np.array([0]), np.array([10.0]), noise_sd=0.02)
    assert after.location == pytest.approx(10 + np.arange(5.0), abs=0.3)
    assert after.absolute
    assert not belief.absolute


def test_an_unmeasured_model_is_predicted_from_its_features() -> None:
    rng = np.random.default_rng(6)
    size = np.linspace(-2, 2, 12)
    values = size + 0.02 * rng.normal(size=(6, 12))
    values[:, 7] = np.nan
    belief = fit_prior(profiles(values), GROUP, size[:, None], np.array(["cnn"] * 12, dtype=object), Shrinkage())
    assert belief.location[7] - belief.location[6] == pytest.approx(size[7] - size[6], abs=0.15)


def test_profiles_without_a_value_name_the_remedy() -> None:
    with pytest.raises(DataError, match="add benchmarks"):
        profiles(np.full((2, 3), np.nan))
