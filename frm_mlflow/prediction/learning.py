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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers, Words, finite_mean
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.pareto import frontier, score
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.belief import Anchors, Belief, departures, half_width
from frm_mlflow.prediction.predictors import Model, Quantity, predictor_named, profiles_of
from frm_mlflow.prediction.prior import Moments, Shrinkage, moments_of, with_level
from frm_mlflow.prediction.regression import static_features

AUTO = "auto"
CHOICES = ("transfer", "ridge", "mean_of_sources", "static", "flops")
"""Candidates of the automatic choice, the most trusted first; the other predictors are controls only."""
_WIDENING = (0.5, 4.0)
MAX_LEFT_OUT = 24
"""Maximum number of configurations left out in turn: the target's group first, then others evenly spaced."""
MIN_TRUTHS = 5
KINS = (0.02, 0.05, 0.1, 0.3)
SHRINKS = (0.1, 0.3, 0.5, 0.7)
TRIED_ANCHORS = 5
MAX_TRIED = 12
"""Maximum number of left-out configurations used for the choice; those of the target's group come first."""
MIN_CHIPS = 3
"""With fewer chips the defaults of `Shrinkage` are used: two chips do not show how chips differ."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Twin:
    """A configuration of the history that acts as the target, and the history without its chip."""

    chip: object
    group: Words
    truth: Floats
    history: ResultMatrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """A history without the target of `group`, with the target's twins."""

    history: ResultMatrix
    group: Words
    quantity: Quantity
    twins: tuple[Twin, ...]


def fold_of(history: ResultMatrix, group: Words, quantity: Quantity) -> Fold:
    """Return the fold of a target; predictors to be compared share it."""
    values = history.log_latency if quantity == "latency" else history.log_memory
    twins = [
        Twin(
            chip=history.chips[row],
            group=history.groups[row],
            truth=values[row],
            history=history.select(history.chips != history.chips[row]),
        )
        for row in left_out_rows(history, values, group)
    ]
    return Fold(history=history, group=group, quantity=quantity, twins=tuple(twins))


def left_out_rows(history: ResultMatrix, values: Floats, group: Words) -> Integers:
    """Return the configurations that act as the target, at most `MAX_LEFT_OUT`.

    Those of the target's group come first, then others evenly spaced. There are none if there is only one chip.
    """
    if len(set(history.chips[np.isfinite(values).any(axis=1)])) < 2:
        return np.zeros(0, dtype=np.intp)
    judged = np.isfinite(values).sum(axis=1) >= MIN_TRUTHS
    alike = (history.groups == group).all(axis=1)
    first, others = np.flatnonzero(judged & alike)[:MAX_LEFT_OUT], np.flatnonzero(judged & ~alike)
    room = min(MAX_LEFT_OUT - len(first), len(others))
    spread = others[np.linspace(0, len(others) - 1, room).astype(np.intp)] if room else others[:0]
    return np.concatenate([first, spread])


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
    finite = np.flatnonzero(np.isfinite(truth) & np.isfinite(location))
    order = finite[np.argsort(location[finite], kind="stable")]
    count = min(TRIED_ANCHORS, len(order) // 2)
    places = (np.arange(count) + 0.5) / max(count, 1) * len(order)
    return order[places.astype(np.intp)]


def _error(moments: Moments, shrink: float, anchors: Anchors, truth: Floats, noise_sd: float) -> float:
    prior = with_level(moments.shrunk(Shrinkage(shrink=shrink)))
    belief = prior.given(anchors.positions, anchors.log_values, noise_sd=noise_sd)
    left = np.abs(departures(belief, truth))
    return float(left[np.isfinite(left)].mean()) if np.isfinite(left).any() else np.nan


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
        ratios = [(str(item.chip), self._ratios(item, anchors, confidence)) for item in self.left_out]
        ratios = [(chip, values) for chip, values in ratios if values.size]
        if not ratios:
            return Calibration(widening=1.0, chips=0, values=0)
        pooled = np.concatenate([values for _, values in ratios])
        names = [chip for chip, _ in ratios]
        weight = np.concatenate([np.full(v.size, 1 / v.size / names.count(chip)) for chip, v in ratios])
        chips = np.repeat(names, [values.size for _, values in ratios])
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
        finite = np.isfinite(error)
        ratio: Floats = np.abs(error[finite]) / half[finite]
        return ratio if finite.sum() >= MIN_TRUTHS else ratio[:0]

    @staticmethod
    def _f1(item: LeftOut, anchors: Anchors, values: Floats) -> float:
        beliefs = item.model.beliefs(Anchors.of_row(item.truth, anchors.positions))
        scores = [frontier_score(belief.location, item.truth, values) for belief in beliefs]
        return finite_mean(np.array(scores))


def frontier_score(predicted: Floats, truth: Floats, values: Floats) -> float:
    """Return the F1 of the predicted accuracy-cost frontier over the models that have all three numbers."""
    finite = np.isfinite(predicted) & np.isfinite(truth) & np.isfinite(values)
    if finite.sum() < MIN_TRUTHS:
        return float("nan")
    pairs = frontier(predicted[finite], values[finite]), frontier(truth[finite], values[finite])
    return score(*pairs).f1


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
    best, *others = candidates
    for name in others:
        if _beats(f1[name], f1[best]):
            best = name
    means = {name: finite_mean(scores) for name, scores in f1.items()}
    return Choice(name=best, f1=means, configurations=len(candidates[best].left_out))


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
