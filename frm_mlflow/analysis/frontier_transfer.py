"""Algorithm 1 on all pairs of configurations at once: the frontier of one compared with the frontier of another.

A model is on a frontier if no other model dominates it. Counting dominators among each
pair's common models is one matrix product of dominance matrices and masks. Transferring
ranks or values gives the same result, because a frontier depends only on order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Signs
from frm_mlflow.analysis.ranks import blocks, within


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transferred:
    """Predicted and true frontiers of a block of sources on all targets; arrays are (sources, targets, models)."""

    sources: slice
    predicted: Mask
    true: Mask
    common: Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Scores of every source (row) on every target (column); NaN if they have too few models in common."""

    precision: Floats
    recall: Floats
    f1: Floats
    failure: Floats
    """Share of the common models whose membership is wrong."""
    hypervolume: Floats
    """Share of the area under the target's frontier, in log cost, that the predicted models reach."""
    regret: Floats
    """Top-1 points lost by choosing only among the predicted models, averaged over budgets at every model's cost."""


def transferred(predictor: Floats, objective: Floats, top1: Floats, *, dominance: str) -> Iterator[Transferred]:
    """Yield frontiers of (accuracy, `predictor`) from sources, with the targets' frontiers of (accuracy, `objective`).

    All arrays are (C, M), NaN for missing values. Frontiers are taken over the models that the two have in common.
    Both use the target's accuracies: only the order of costs is transferred (paper, Algorithm 1).
    """
    has_predictor, has_objective = np.isfinite(predictor), np.isfinite(objective) & np.isfinite(top1)
    truth = _dominators(objective, top1, dominance)
    masks = [mask.astype(np.float32) for mask in (has_predictor, has_objective)]
    networks = _accuracy_classes(top1)
    n_models = top1.shape[1]
    for block in blocks(len(top1), n_models * max(len(top1), n_models)):
        dominated = np.zeros((len(predictor[block]), *top1.shape), dtype=np.bool_)
        for accuracy, targets in networks:
            shared = np.broadcast_to(accuracy, predictor[block].shape)
            dominated[:, targets] = within(_dominators(predictor[block], shared, dominance), masks[1][targets]) > 0
        dominated_on_target = within(truth, masks[0][block]).transpose(1, 0, 2) > 0
        common = has_predictor[block][:, None] & has_objective[None]
        yield Transferred(
            sources=block, predicted=common & ~dominated, true=common & ~dominated_on_target, common=common
        )


def _accuracy_classes(top1: Floats) -> list[tuple[Floats, Integers]]:
    """Return each distinct set of accuracies with its configurations: one class per kind of network."""
    classes: list[tuple[Floats, list[int]]] = []
    for row, values in enumerate(top1):
        finite = np.isfinite(values)
        for accuracy, members in classes:
            both = finite & np.isfinite(accuracy)
            if np.array_equal(values[both], accuracy[both]):
                accuracy[finite] = values[finite]
                members.append(row)
                break
        else:
            classes.append((values.copy(), [row]))
    return [(accuracy, np.array(members, dtype=np.intp)) for accuracy, members in classes]


def score_pairs(
    predictor: Floats, objective: Floats, top1: Floats, *, dominance: str, min_models: int, economics: bool = True
) -> Scores:
    """Score the transfer of every configuration's frontier to every other one (paper 5.3).

    Without `economics`, hypervolume and regret are left NaN, which is several times faster.
    """
    n = len(top1)
    scores = {name: np.full((n, n), np.nan) for name in Scores.__dataclass_fields__}
    for part in transferred(predictor, objective, top1, dominance=dominance):
        enough = part.common.sum(axis=2) >= min_models
        parts = _membership(part)
        if economics:
            parts |= _economics(part, objective, top1)
        for name, values in parts.items():
            scores[name][part.sources] = np.where(enough, values, np.nan)
    return Scores(**scores)


def _dominators(cost: Floats, value: Floats, dominance: str) -> Signs:
    """Return 1 at [c, m, k] if model k dominates model m on configuration c; NaN dominates nothing."""
    with np.errstate(invalid="ignore"):
        cheaper, better = cost[:, None, :] < cost[:, :, None], value[:, None, :] > value[:, :, None]
        if dominance == "strict":
            return (cheaper & better).astype(np.float32)
        as_cheap, as_good = cost[:, None, :] <= cost[:, :, None], value[:, None, :] >= value[:, :, None]
    return (as_cheap & as_good & (cheaper | better)).astype(np.float32)


def _membership(part: Transferred) -> dict[str, Floats]:
    hits = (part.predicted & part.true).sum(axis=2)
    n_predicted, n_true, n_common = (mask.sum(axis=2) for mask in (part.predicted, part.true, part.common))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": hits / n_predicted,
            "recall": hits / n_true,
            "f1": 2 * hits / (n_predicted + n_true),
            "failure": (part.predicted ^ part.true).sum(axis=2) / n_common,
        }


def _economics(part: Transferred, objective: Floats, top1: Floats) -> dict[str, Floats]:
    """Walk each target's models by increasing cost, tracking the best of all and the best of the predicted ones."""
    order = np.argsort(objective, axis=1, kind="stable")
    cost, value = (np.take_along_axis(v, order, axis=1) for v in (np.log(objective), top1))
    predicted, common = (np.take_along_axis(mask, order[None], axis=2) for mask in (part.predicted, part.common))
    lowest = np.min(np.where(common, value, np.inf), axis=2, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    best, reached = (
        np.maximum.accumulate(np.where(mask, value, lowest), axis=2) - lowest for mask in (common, predicted)
    )
    widths = _widths(cost, common)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (widths * reached).sum(axis=2) / (widths * best).sum(axis=2)
    return {"hypervolume": share, "regret": _regret(best - reached, cost, common)}


def _widths(cost: Floats, common: Mask) -> Floats:
    """Return the distance from each model's cost to the next higher cost, none above the highest common cost."""
    highest = np.max(np.where(common, cost, -np.inf), axis=2, keepdims=True)
    steps = np.minimum(np.where(np.isfinite(cost), cost, np.inf), highest)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(highest), np.diff(steps, axis=2, append=highest), 0.0)


def _regret(lost: Floats, cost: Floats, common: Mask) -> Floats:
    """Return the mean loss over budgets at the common models' costs; equal costs are one budget."""
    last_of_tie = np.array([np.searchsorted(row, row, side="right") - 1 for row in cost])
    at_budget = np.take_along_axis(lost, np.minimum(last_of_tie, cost.shape[1] - 1)[None], axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(common, at_budget, 0.0).sum(axis=2) / common.sum(axis=2)
    return mean
