"""Regression of a model's cost on what is known of it without running it anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeCV

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.prediction.history import History

_STRENGTHS = np.logspace(-2, 2, 9)
MIN_TRAINING_MODELS = 5
"""Fewer models than this do not tell a slope from chance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticFit:
    """Fitted log costs (M,), NaN where facts are missing, and the spread of what the regression leaves."""

    location: Floats
    residual_sd: float


def static_features(history: History) -> Floats:
    """Return standardised log GMACs, parameters and activations with the family as columns, (M, P).

    A fact that is unknown for some model that has GMACs is left out as a whole; a model without
    the remaining facts has NaN.
    """
    facts = np.column_stack([history.gmacs, history.params_m, history.activations_m])
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(np.where(facts > 0, facts, np.nan))
    counted = np.isfinite(logs[:, 0])
    known = np.isfinite(logs[counted]).all(axis=0) if counted.any() else np.zeros(logs.shape[1], dtype=np.bool_)
    numbers = logs[:, known]
    spread = np.nanstd(numbers, axis=0) if known.any() else np.zeros(0)
    centre = np.nanmean(numbers, axis=0) if known.any() else np.zeros(0)
    scaled = (numbers - centre) / np.where(spread > 0, spread, 1.0)
    families = [(history.families == family).astype(np.float64) for family in np.unique(history.families)]
    return np.column_stack([scaled, *families])


def fit_static(features: Floats, log_costs: Floats) -> StaticFit:
    """Return the ridge regression of `log_costs` (M,) on `features` (M, P); its strength by leave-one-out.

    Models without a cost are predicted from the others. Where fewer than `MIN_TRAINING_MODELS`
    have both, nothing is predicted: all NaN.
    """
    usable = np.isfinite(features).all(axis=1)
    training = usable & np.isfinite(log_costs)
    location = np.full(log_costs.size, np.nan)
    if features.shape[1] == 0 or training.sum() < MIN_TRAINING_MODELS:
        return StaticFit(location=location, residual_sd=np.nan)
    ridge = RidgeCV(alphas=_STRENGTHS).fit(features[training], log_costs[training])
    location[usable] = ridge.predict(features[usable])
    left = np.sqrt(-float(ridge.best_score_))
    return StaticFit(location=location, residual_sd=left)
