"""The two regressions, against scikit-learn and known slopes."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from frm_mlflow.prediction.belief import Anchors
from frm_mlflow.prediction.regression import _dual_ridge, few_shot, fit_static


def test_dual_ridge_equals_scikit_learn_at_its_strength() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 6))
    departure = features[:7] @ rng.normal(size=6) + 0.3 * rng.normal(size=7)
    ours = _dual_ridge(features[:7], departure, features)
    theirs = [Ridge(alpha=a).fit(features[:7], departure).predict(features) for a in np.logspace(-1, 3, 9)]
    assert min(np.abs(ours - prediction).max() for prediction in theirs) < 1e-9


def test_with_few_anchors_the_location_is_left_alone() -> None:
    location = np.arange(6.0)
    anchors = Anchors(positions=np.array([0, 1]), log_values=np.array([5.0, 9.0]))
    np.testing.assert_array_equal(few_shot(location, np.eye(6), anchors), location)


def test_anchors_correct_models_that_share_their_feature() -> None:
    location = np.zeros(10)
    feature = np.array([1.0, -1.0] * 5)
    anchors = Anchors(positions=np.arange(6), log_values=0.5 * feature[:6])
    corrected = few_shot(location, feature[:, None], anchors)
    assert corrected[6] - corrected[7] == pytest.approx(1.0, abs=0.1)


def test_static_predicts_unseen_models_and_refuses_too_few() -> None:
    size = np.linspace(-1, 1, 12)
    costs = 2 * size + 1
    costs[5] = np.nan
    fit = fit_static(size[:, None], costs)
    assert fit.location[5] == pytest.approx(2 * size[5] + 1, abs=0.1)
    assert np.isnan(fit_static(size[:4, None], costs[:4]).location).all()
