"""Few-shot ridge regression: a handful of anchors corrects the mean profile of known devices."""

from __future__ import annotations

import numpy as np

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.prediction.anchors import Anchors

_STRENGTHS = np.logspace(-1, 3, 9)
MIN_ANCHORS = 3
"""With fewer anchors, only the level is corrected."""


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
    for strength in _STRENGTHS:
        inverse = np.linalg.inv(gram + strength * np.eye(len(gram)))
        hat = gram @ inverse + 1 / len(gram)
        weights = inverse @ (departure - level)
        left = (departure - hat @ (departure - level) - level) / (1 - np.diag(hat))
        fits.append((float(np.mean(left**2)), weights))
    _, best = min(fits, key=lambda fit: fit[0])
    correction: Floats = level + (everything - centre) @ ((rows - centre).T @ best)
    return correction
