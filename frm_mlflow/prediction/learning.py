"""A predictor with its track record: its errors on chips of the history that are left out in turn.

The record is used twice. It sets the width of intervals (conformal, pooled by chip), and it
selects between predictors (nested leave-one-chip-out). The left-out chips get the same anchors
as the target, so the record applies to those anchors.

Pooling assumes that the target departs from its prediction, in units of its predicted
spread, as the history's chips do. Each chip counts once and models within a chip are treated as
exchangeable. With a dozen chips the stricter guarantee (a new chip, all its models at once)
would only give infinite intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Words
from frm_mlflow.analysis.pareto import score
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.anchors import Anchors
from frm_mlflow.prediction.belief import Belief, half_width
from frm_mlflow.prediction.folds import MIN_TRUTHS, Fold, departures
from frm_mlflow.prediction.membership import point_frontier
from frm_mlflow.prediction.predictors import Model, predictor_named
from frm_mlflow.prediction.prior import Shrinkage

AUTO = "auto"
CHOICES = ("transfer", "ridge", "mean_of_sources", "static", "flops")
"""Candidates of the automatic choice, the most trusted first; the other predictors are controls only."""
_WIDENING = (0.5, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeftOut:
    """A configuration of the history, and a predictor trained without any benchmark of its chip."""

    chip: object
    truth: Floats
    model: Model

    def belief(self, anchors: Anchors) -> Belief:
        """Return the belief given the anchors that were measured on this configuration."""
        return self.model.beliefs(Anchors.of_row(self.truth, anchors.positions))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Factor by which intervals were widened to reach the promised coverage on left-out chips."""

    widening: float
    chips: int
    values: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learnt:
    """A predictor trained on the whole history, and the same predictor for each left-out chip."""

    name: str
    model: Model
    left_out: tuple[LeftOut, ...]

    def belief(self, anchors: Anchors, confidence: float) -> tuple[Belief, Calibration]:
        """Return the calibrated belief; for a predictor with several sources, that of the first one."""
        calibration = self.calibration(anchors, confidence)
        return self.model.beliefs(anchors)[0].scaled(calibration.widening), calibration

    def calibration(self, anchors: Anchors, confidence: float) -> Calibration:
        """Return the widening at which left-out chips, each with equal weight, are covered with `confidence`."""
        found = [(str(item.chip), self._ratios(item, anchors, confidence)) for item in self.left_out]
        found = [(chip, own) for chip, own in found if own.size]
        if not found:
            return Calibration(widening=1.0, chips=0, values=0)
        pooled = np.concatenate([own for _, own in found])
        names = [chip for chip, _ in found]
        weight = np.concatenate([np.full(own.size, 1 / own.size / names.count(chip)) for chip, own in found])
        chips = np.repeat(names, [own.size for _, own in found])
        widening = weighted_quantile(pooled, weight, corrected_level(pooled, weight, chips, confidence))
        return Calibration(
            widening=float(np.clip(widening, *_WIDENING)), chips=len(set(chips)), values=int(pooled.size)
        )

    def frontier_f1(self, anchors: Anchors, values: Floats) -> Floats:
        """Return the F1 of the frontier on each left-out configuration; NaN if it cannot be judged."""
        return np.array([self._f1(item, anchors, values) for item in self.left_out])

    def errors(self, anchors: Anchors) -> Floats:
        """Return log errors (left-out, M) of models that are neither anchors nor missing; NaN for the rest."""
        return np.array([departures(item.belief(anchors), item.truth) for item in self.left_out])

    @staticmethod
    def _ratios(item: LeftOut, anchors: Anchors, confidence: float) -> Floats:
        belief = item.belief(anchors)
        error = departures(belief, item.truth)
        half = half_width(confidence, belief.dof) * belief.scale
        known = np.isfinite(error)
        ratio: Floats = np.abs(error[known]) / half[known]
        return ratio if known.sum() >= MIN_TRUTHS else ratio[:0]

    @staticmethod
    def _f1(item: LeftOut, anchors: Anchors, values: Floats) -> float:
        own = Anchors.of_row(item.truth, anchors.positions)
        scores = [frontier_score(b.location, item.truth, values) for b in item.model.beliefs(own)]
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def frontier_score(predicted: Floats, truth: Floats, values: Floats) -> float:
    """Return the F1 of the predicted accuracy-cost frontier over the models that have all three numbers."""
    known = np.isfinite(predicted) & np.isfinite(truth) & np.isfinite(values)
    if known.sum() < MIN_TRUTHS:
        return float("nan")
    found = point_frontier(predicted[known], values[known]), point_frontier(truth[known], values[known])
    return score(*found).f1


def learn(name: str, fold: Fold, *, settings: Shrinkage, noise_sd: float) -> Learnt:
    """Return the predictor trained on the history, with its left-out twins."""
    predictor = predictor_named(name, settings=settings, noise_sd=noise_sd)
    left_out = []
    for twin in fold.twins:
        try:
            model = predictor(twin.history, twin.group, fold.quantity)
        except DataError:  # without this chip, the history lacks what the predictor needs
            continue
        left_out.append(LeftOut(chip=twin.chip, truth=twin.truth, model=model))
    return Learnt(name=name, model=predictor(fold.history, fold.group, fold.quantity), left_out=tuple(left_out))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The selected predictor, and the scores of all candidates on left-out chips."""

    name: str
    f1: dict[str, float]
    configurations: int


def choose(candidates: dict[str, Learnt], anchors: Anchors, values: Floats) -> Choice:
    """Return the first candidate that no other beats by more than two standard errors of the difference.

    Candidates are judged by the F1 of the accuracy-latency frontier of left-out configurations, all given the
    target's anchors. They are ordered by trust, so that noise does not decide.
    """
    f1 = {name: learnt.frontier_f1(anchors, values) for name, learnt in candidates.items()}
    names = list(candidates)
    chosen = names[0]
    for name in names[1:]:
        if _beats(f1[name], f1[chosen]):
            chosen = name
    means = {name: float(np.nanmean(own)) if np.isfinite(own).any() else float("nan") for name, own in f1.items()}
    return Choice(name=chosen, f1=means, configurations=len(candidates[chosen].left_out))


def _beats(one: Floats, other: Floats) -> bool:
    difference = one - other
    difference = difference[np.isfinite(difference)]
    if difference.size < 2:
        return False
    return bool(difference.mean() > 2 * difference.std(ddof=1) / np.sqrt(difference.size))


def corrected_level(ratios: Floats, weights: Floats, chips: Words, confidence: float) -> float:
    """Return the level of the quantile that covers a new device with `confidence`: split conformal's (n + 1) / n.

    n is the effective number of independent values among the ratios. It follows from how much coverage
    differs between chips: it is the number of chips if each chip is covered as a whole or
    not at all, and larger if models are missed independently of each other.
    """
    names = np.unique(chips)
    inside = (ratios <= weighted_quantile(ratios, weights, confidence)).astype(np.float64)
    shares = np.array([np.average(inside[chips == name], weights=weights[chips == name]) for name in names])
    variance = float(shares.var(ddof=1)) / len(names) if len(names) > 1 else np.inf
    worth = max(confidence * (1 - confidence) / variance, len(names)) if variance > 0 else np.inf
    return min(confidence * (1 + 1 / worth), 1.0)


def weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the smallest value such that at least `level` of the weight is at or below it."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    index = min(int(np.searchsorted(share, level - 1e-12)), len(values) - 1)
    return float(values[order[index]])
