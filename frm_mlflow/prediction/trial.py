"""Evaluation of one held-out configuration: every predictor, every number of anchors, every score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.anchors import Anchors
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.folds import Fold, fold_of
from frm_mlflow.prediction.history import History
from frm_mlflow.prediction.learning import AUTO, CHOICES, Learnt, choose, learn
from frm_mlflow.prediction.membership import point_frontier
from frm_mlflow.prediction.options import EvaluationOptions, PredictionOptions
from frm_mlflow.prediction.planning import next_anchor
from frm_mlflow.prediction.predictors import Transfer
from frm_mlflow.prediction.prior import with_level
from frm_mlflow.prediction.protocols import HeldOut
from frm_mlflow.prediction.scores import Truth, budget_rows, reliability, score_belief, score_frm
from frm_mlflow.prediction.tuning import chosen_settings

PLANNED, RANDOM = "planned", "random"
_PLAN_DRAWS = 500
BUDGET_ANCHORS = 5
"""Number of anchors for scoring budgets and random anchors, or the highest evaluated number below it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """Rows of scores of one held-out configuration, as dictionaries ready for a frame."""

    scores: list[dict[str, object]]
    budgets: list[dict[str, object]]
    families: list[dict[str, object]]
    reliability: list[dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Setting:
    history: History
    held: HeldOut
    truth: Truth
    options: PredictionOptions
    evaluation: EvaluationOptions
    transfer_memory: Floats

    @property
    def named(self) -> dict[str, object]:
        table = self.history.configurations.iloc[self.held.row]
        return {
            "protocol": self.held.protocol,
            "part": self.held.part,
            "chip": self.history.chips[self.held.row],
            "configuration": str(table["label"]),
        }


def run_trial(
    history: History,
    held: HeldOut,
    options: PredictionOptions,
    evaluation: EvaluationOptions,
    rng: np.random.Generator,
) -> Trial:
    """Return all scores of one held-out configuration."""
    history = history.with_accuracy_of(str(history.groups[held.row][2]))
    training = history.select(held.training)
    group = history.groups[held.row]
    setting = _Setting(
        history=history,
        held=held,
        truth=truth_of(history, held.row),
        options=options,
        evaluation=evaluation,
        transfer_memory=_memory_location(training, group),
    )
    fold = fold_of(training, group, "latency")
    learnt = _learn_all(fold, options, evaluation)
    row = history.log_latency[held.row]
    sequence = planned_sequence(learnt["transfer"], row, history.top1, max(evaluation.anchors), rng)
    trial = Trial(scores=[], budgets=[], families=[], reliability=[])
    for count in evaluation.anchors:
        if count <= len(sequence):
            anchors = Anchors.of_row(row, sequence[:count])
            _score_all(trial, setting, learnt, anchors, rng)
    for anchors in _random_anchors(row, setting, rng):
        _score(trial, setting, learnt["transfer"], "transfer", anchors, RANDOM, rng)
    return trial


def truth_of(history: History, row: int) -> Truth:
    """Return the measurements on a configuration; log FRM is up to a constant (paper eq. 1)."""
    gmacs = np.full(len(history.models), np.nan)
    np.log(history.gmacs, out=gmacs, where=history.gmacs > 0)
    latency = history.log_latency[row]
    return Truth(log_latency=latency, log_frm=(gmacs + latency + history.log_memory[row]) / 3, top1=history.top1)


def planned_sequence(learnt: Learnt, row: Floats, top1: Floats, n: int, rng: np.random.Generator) -> Integers:
    """Return up to `n` anchors as picked by `plan` one by one, each after the previous measurement."""
    chosen = np.zeros(0, dtype=np.intp)
    while len(chosen) < n:
        belief = learnt.model.beliefs(Anchors.of_row(row, chosen))[0]
        belief = belief if len(chosen) else with_level(belief)
        draws = np.where(np.isfinite(row), belief.draws(_PLAN_DRAWS, rng), np.nan)
        allowed = np.isfinite(row) & np.isfinite(belief.location) & ~belief.measured
        picks = next_anchor(draws, top1, allowed, n=1, latency_share=1.0)
        if not picks.size:
            break
        chosen = np.append(chosen, picks)
    return chosen


def _learn_all(fold: Fold, options: PredictionOptions, evaluation: EvaluationOptions) -> dict[str, Learnt]:
    """Return every predictor that is requested or needed by the automatic choice, if the history supports it."""
    wanted = set(evaluation.predictors) - {AUTO} | {"transfer"}
    wanted |= set(CHOICES) if AUTO in evaluation.predictors else set()
    settings = chosen_settings(fold, noise_sd=options.measurement_sd)
    learnt = {}
    for name in [*CHOICES, *sorted(wanted - set(CHOICES))]:
        if name in wanted:
            try:
                learnt[name] = learn(name, fold, settings=settings, noise_sd=options.measurement_sd)
            except DataError:  # this history lacks data that the predictor needs
                continue
    return learnt


def _score_all(
    trial: Trial, setting: _Setting, learnt: dict[str, Learnt], anchors: Anchors, rng: np.random.Generator
) -> None:
    for name in setting.evaluation.predictors:
        if name == AUTO:
            candidates = {name: learnt[name] for name in CHOICES if name in learnt}
            chosen = choose(candidates, anchors, setting.truth.top1).name
            _score(trial, setting, learnt[chosen], AUTO, anchors, PLANNED, rng)
        elif name in learnt:
            _score(trial, setting, learnt[name], name, anchors, PLANNED, rng)


def _score(
    trial: Trial,
    setting: _Setting,
    learnt: Learnt,
    name: str,
    anchors: Anchors,
    plan: str,
    rng: np.random.Generator,
) -> None:
    """Append the mean of every score over the predictor's sources."""
    confidence = setting.options.confidence
    widening = learnt.calibration(anchors, confidence).widening if plan == PLANNED else 1.0
    beliefs = [belief.scaled(widening) for belief in learnt.model.beliefs(anchors)]
    named = setting.named | {"predictor": name, "anchors": len(anchors), "plan": plan}
    rows = []
    for belief in beliefs:
        cost = belief.location if name == "algorithm1" else _log_frm(setting, belief)
        own = score_belief(belief, setting.truth, confidence=confidence, rng=rng)
        rows.append(own | score_frm(cost, setting.truth))
    trial.scores.append(named | {"chosen": learnt.name} | mean_of_rows(rows))
    if plan != PLANNED:
        return
    trial.families.extend(named | row for row in _family_rows(beliefs[0], setting))
    if len(anchors) == _budget_anchors(setting.evaluation) and name != "static":
        sources = [[named | row for row in budget_rows(b, setting.truth, confidence=confidence)] for b in beliefs]
        trial.budgets.extend(row for rows_ in sources for row in _weighted(rows_, len(sources)))
    if name == AUTO:
        probability, member = reliability(beliefs[0], setting.truth, rng)
        pairs = zip(probability, member, strict=True)
        trial.reliability.extend(named | {"probability": float(p), "member": bool(m)} for p, m in pairs)


def mean_of_rows(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each key over the rows that have it."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    means = {}
    for key in keys:
        values = np.array([row[key] for row in rows if key in row])
        known = values[np.isfinite(values)]
        means[key] = float(known.mean()) if known.size else float("nan")
    return means


def _weighted(rows: list[dict[str, object]], sources: int) -> Iterator[dict[str, object]]:
    for row in rows:
        yield row | {"weight": 1 / sources}


def _budget_anchors(evaluation: EvaluationOptions) -> int:
    return max((count for count in evaluation.anchors if count <= BUDGET_ANCHORS), default=0)


def _log_frm(setting: _Setting, belief: Belief) -> Floats:
    gmacs = np.full(belief.location.size, np.nan)
    np.log(setting.history.gmacs, out=gmacs, where=setting.history.gmacs > 0)
    log_frm: Floats = (gmacs + belief.location + setting.transfer_memory) / 3
    return log_frm


def _memory_location(training: History, group: np.ndarray[tuple[int], np.dtype[np.object_]]) -> Floats:
    """Return the memory that `transfer` predicts without anchors, NaN if the history has none."""
    try:
        return Transfer()(training, group, "memory").prior.location
    except DataError:
        return np.full(len(training.models), np.nan)


def _family_rows(belief: Belief, setting: _Setting) -> Iterator[dict[str, object]]:
    """Yield, for each family, the share of its models with wrong frontier membership (paper Table 8)."""
    truth = setting.truth
    judged = np.isfinite(truth.log_latency) & np.isfinite(belief.location) & np.isfinite(truth.top1)
    top1 = truth.top1[judged]
    wrong = point_frontier(belief.location[judged], top1) != point_frontier(truth.log_latency[judged], top1)
    for family in np.unique(setting.history.families[judged]):
        own = setting.history.families[judged] == family
        yield {"family": family, "models": int(own.sum()), "failures": int(wrong[own].sum())}


def _random_anchors(row: Floats, setting: _Setting, rng: np.random.Generator) -> Iterator[Anchors]:
    known = np.flatnonzero(np.isfinite(row) & np.isfinite(setting.truth.top1))
    count = _budget_anchors(setting.evaluation)
    if setting.held.protocol == "chip" and 0 < count < known.size:
        for _ in range(setting.evaluation.random_seeds):
            yield Anchors.of_row(row, rng.choice(known, count, replace=False))
