"""Regression of a model's cost on facts about it that are available without running it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeCV

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.prediction.history import History

_STRENGTHS = np.logspace(-2, 2, 9)
MIN_TRAINING_MODELS = 5
"""Fewer models than this cannot distinguish a slope from chance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticFit:
    """Fitted log costs (M,), NaN if facts are missing, and the residual spread of the regression."""

    location: Floats
    residual_sd: float


def static_features(history: History) -> Floats:
    """Return standardised log GMACs, parameters and activations with the family as columns, (M, P).

    A fact that is unknown for any model with GMACs is left out entirely. A model without
    the remaining facts is NaN.
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
    """Return the ridge regression of `log_costs` (M,) on `features` (M, P); its strength is chosen by leave-one-out.

    Models without a cost are predicted from the others. If fewer than `MIN_TRAINING_MODELS`
    have both, all predictions are NaN.
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
