"""How far to trust other groups and individual models' departures: chosen on the history.

Every setting of a small grid predicts the chips of the history that are left out in turn, from
a few measurements on each. The setting with the smallest error is used. The choice does not use any data of
the target, so reported results on held-out chips (`evaluate`) are independent of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.anchors import Anchors
from frm_mlflow.prediction.folds import Fold, Twin, departures
from frm_mlflow.prediction.predictors import Quantity, profiles_of
from frm_mlflow.prediction.prior import Moments, Shrinkage, moments_of, with_level
from frm_mlflow.prediction.static import static_features

KINS = (0.02, 0.05, 0.1, 0.3)
SHRINKS = (0.1, 0.3, 0.5, 0.7)
TRIED_ANCHORS = 5
MAX_TRIED = 12
"""Maximum number of left-out configurations used for the choice; those of the target's group come first."""
MIN_CHIPS = 3
"""With fewer chips the defaults of `Shrinkage` are used: two chips do not show how chips differ."""


def chosen_settings(fold: Fold, *, noise_sd: float) -> Shrinkage:
    """Return the settings with the smallest mean error of log values on left-out chips, weighted equally by chip."""
    twins = fold.twins[:MAX_TRIED]
    if len({twin.chip for twin in twins}) < MIN_CHIPS:
        return Shrinkage()
    alone = len({tuple(group) for group in fold.history.groups}) == 1
    kins = (Shrinkage().kin,) if alone else KINS
    errors = np.array([_errors(twin, fold.quantity, kins, noise_sd) for twin in twins])
    judged = np.isfinite(errors).all(axis=1)
    chips = np.array([str(twin.chip) for twin in twins])[judged]
    if len(set(chips)) < MIN_CHIPS:
        return Shrinkage()
    votes = [errors[judged][chips == chip].mean(axis=0) for chip in sorted(set(chips))]
    kin, shrink = list(product(kins, SHRINKS))[int(np.mean(votes, axis=0).argmin())]
    return Shrinkage(kin=kin, shrink=shrink)


def _errors(twin: Twin, quantity: Quantity, kins: Sequence[float], noise_sd: float) -> list[float]:
    """Return the mean absolute log error on one left-out configuration for each setting, NaN if it has none."""
    try:
        profiles = profiles_of(twin.history, quantity)
    except DataError:  # without this chip, no other configuration has this quantity
        return [np.nan] * len(kins) * len(SHRINKS)
    features = static_features(twin.history)
    errors = []
    for kin in kins:
        moments = moments_of(profiles, twin.group, features, twin.history.families, kin=kin)
        anchors = Anchors.of_row(twin.truth, _spread_models(twin.truth, moments.location))
        errors += [_error(moments, shrink, anchors, twin.truth, noise_sd) for shrink in SHRINKS]
    return errors


def _spread_models(truth: Floats, location: Floats) -> Integers:
    """Return measured models from fast to slow, evenly spaced; at most half of them."""
    known = np.flatnonzero(np.isfinite(truth) & np.isfinite(location))
    order = known[np.argsort(location[known], kind="stable")]
    count = min(TRIED_ANCHORS, len(order) // 2)
    places = (np.arange(count) + 0.5) / max(count, 1) * len(order)
    return order[places.astype(np.intp)]


def _error(moments: Moments, shrink: float, anchors: Anchors, truth: Floats, noise_sd: float) -> float:
    prior = with_level(moments.shrunk(Shrinkage(shrink=shrink)))
    belief = prior.given(anchors.positions, anchors.log_values, noise_sd=noise_sd)
    left = np.abs(departures(belief, truth))
    return float(left[np.isfinite(left)].mean()) if np.isfinite(left).any() else np.nan
