"""Frontiers of draws: each model's probability of being on the frontier, and its rivals."""

from __future__ import annotations

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Mask
from frm_mlflow.analysis.pareto import frontier

_MOST_CANDIDATES = 200
_UNDECIDED = (0.05, 0.95)
_TIE = (0.2, 0.8)


def memberships(log_costs: Floats, values: Floats) -> Mask:
    """Return which models are Pareto-optimal in each draw (paper eq. 5), (D, M).

    `log_costs` is (D, M), `values` (M,); a model with a NaN value or cost is never on a frontier.
    """
    known = np.flatnonzero(np.isfinite(values) & np.isfinite(log_costs).all(axis=0))
    known = known[np.argsort(values[known], kind="stable")]  # among equal costs the less accurate is first and stays
    order = np.argsort(log_costs[:, known], axis=1, kind="stable")
    sorted_values = values[known][order]
    cheaper_best = np.maximum.accumulate(sorted_values, axis=1)[:, :-1]
    optimal = np.ones(order.shape, dtype=np.bool_)
    optimal[:, 1:] = sorted_values[:, 1:] >= cheaper_best
    members = np.zeros(log_costs.shape, dtype=np.bool_)
    placed = np.zeros_like(optimal)
    np.put_along_axis(placed, order, optimal, axis=1)
    members[:, known] = placed
    return members


def point_frontier(log_costs: Floats, values: Floats) -> Mask:
    """Return the frontier of point predictions, (M,)."""
    return frontier(log_costs, values)


def rivals(draws: Floats, values: Floats, probability: Floats) -> list[tuple[int, int, float]]:
    """Return near-ties (model, rival, probability that the rival is cheaper) among undecided models.

    The rival is at least as accurate, and the draws do not settle which of the two is cheaper.
    If there are several, it is the one closest to even odds. Only models whose frontier membership is undecided
    have one.
    """
    undecided = np.flatnonzero((probability > _UNDECIDED[0]) & (probability < _UNDECIDED[1]))
    candidates = np.flatnonzero(probability > _UNDECIDED[0])[:_MOST_CANDIDATES]
    found = []
    for model in undecided[:_MOST_CANDIDATES]:
        able = candidates[(values[candidates] >= values[model]) & (candidates != model)]
        if not able.size:
            continue
        cheaper = (draws[:, able] < draws[:, [model]]).mean(axis=0)
        closest = int(np.argmin(np.abs(cheaper - 0.5)))
        if _TIE[0] < cheaper[closest] < _TIE[1]:
            found.append((int(model), int(able[closest]), float(cheaper[closest])))
    return found
