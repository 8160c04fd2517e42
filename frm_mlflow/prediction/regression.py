"""Regressions: a model's cost on facts that are available without running it, and few-shot corrections by anchors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeCV

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.prediction.belief import Anchors

_STRENGTHS = np.logspace(-2, 2, 9)
MIN_TRAINING_MODELS = 5
"""Fewer models than this cannot distinguish a slope from chance."""
_FEW_SHOT_STRENGTHS = np.logspace(-1, 3, 9)
MIN_ANCHORS = 3
"""With fewer anchors, only the level is corrected."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticFit:
    """Fitted log costs (M,), NaN if facts are missing, and the residual spread of the regression."""

    location: Floats
    residual_sd: float


def static_features(history: ResultMatrix) -> Floats:
    """Return standardised log GMACs, parameters and activations with the family as columns, (M, P).

    A fact that is unknown for any model with GMACs is left out entirely. A model without
    the remaining facts is NaN.
    """
    facts = np.column_stack([history.facts.gmacs, history.facts.params_m, history.facts.activations_m])
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(np.where(facts > 0, facts, np.nan))
    counted = np.isfinite(logs[:, 0])
    finite = np.isfinite(logs[counted]).all(axis=0) if counted.any() else np.zeros(logs.shape[1], dtype=np.bool_)
    numbers = logs[:, finite]
    spread = np.nanstd(numbers, axis=0) if finite.any() else np.zeros(0)
    centre = np.nanmean(numbers, axis=0) if finite.any() else np.zeros(0)
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


def few_shot(location: Floats, features: Floats, anchors: Anchors) -> Floats:
    """Return log costs (M,): `location` plus a ridge regression of the anchors' departures from it.

    `features` is (M, P). The strength is chosen by leave-one-anchor-out in closed form. The
    strongest one takes everything except the level from `location`.
    """
    if len(anchors) < MIN_ANCHORS:
        return location.copy()
    departure = anchors.log_values - location[anchors.positions]
    usable = np.isfinite(departure)
    if usable.sum() < MIN_ANCHORS:
        return location.copy()
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    rows = scaled[anchors.positions[usable]]
    correction = _dual_ridge(rows, departure[usable], scaled)
    return location + correction


def _dual_ridge(rows: Floats, departure: Floats, everything: Floats) -> Floats:
    """Return the ridge prediction at `everything` from K `rows`, with an unpenalised intercept."""
    level = departure.mean()
    centre = rows.mean(axis=0)
    gram = (rows - centre) @ (rows - centre).T
    fits: list[tuple[float, Floats]] = []
    for strength in _FEW_SHOT_STRENGTHS:
        inverse = np.linalg.inv(gram + strength * np.eye(len(gram)))
        hat = gram @ inverse + 1 / len(gram)
        weights = inverse @ (departure - level)
        left = (departure - hat @ (departure - level) - level) / (1 - np.diag(hat))
        fits.append((float(np.mean(left**2)), weights))
    _, best = min(fits, key=lambda fit: fit[0])
    correction: Floats = level + (everything - centre) @ ((rows - centre).T @ best)
    return correction
