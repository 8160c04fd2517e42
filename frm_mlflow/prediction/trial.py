"""Evaluation of one held-out configuration: every predictor, every number of anchors, every score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.analysis.frm import log_frm
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.pareto import frontier, memberships, regret, score
from frm_mlflow.analysis.ranks import spearman
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.belief import Anchors, Belief, departures
from frm_mlflow.prediction.learning import (
    AUTO,
    CHOICES,
    MIN_TRUTHS,
    Fold,
    Learnt,
    choose,
    chosen_settings,
    fold_of,
    learn,
)
from frm_mlflow.prediction.options import EvaluationOptions, PredictionOptions
from frm_mlflow.prediction.planning import next_anchor
from frm_mlflow.prediction.predictors import Transfer
from frm_mlflow.prediction.prior import with_level
from frm_mlflow.prediction.protocols import HeldOut

PLANNED, RANDOM = "planned", "random"
_PLAN_DRAWS = 500
BUDGET_ANCHORS = 5
"""Number of anchors for scoring budgets and random anchors, or the highest evaluated number below it."""
BUDGET_QUANTILES = (0.25, 0.5, 0.75)
SAFETY_FACTORS = np.round(np.arange(1.0, 2.501, 0.01), 2)
_DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Measured log latency and log FRM (M,) of the held-out configuration and the models' accuracies."""

    log_latency: Floats
    log_frm: Floats
    top1: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """Rows of scores of one held-out configuration, as dictionaries ready for a frame."""

    scores: list[dict[str, object]]
    budgets: list[dict[str, object]]
    families: list[dict[str, object]]
    reliability: list[dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Setting:
    history: ResultMatrix
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
    history: ResultMatrix,
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
    sequence = planned_sequence(learnt["transfer"], row, history.facts.top1, max(evaluation.anchors), rng)
    trial = Trial(scores=[], budgets=[], families=[], reliability=[])
    for count in evaluation.anchors:
        if count <= len(sequence):
            anchors = Anchors.of_row(row, sequence[:count])
            _score_all(trial, setting, learnt, anchors, rng)
    for anchors in _random_anchors(row, setting, rng):
        _score(trial, setting, learnt["transfer"], "transfer", anchors, RANDOM, rng)
    return trial


def truth_of(history: ResultMatrix, row: int) -> Truth:
    """Return the measurements on a configuration; log FRM is up to a constant (paper eq. 1)."""
    latency, memory = history.log_latency[row], history.log_memory[row]
    frm = log_frm(np.log(history.facts.gmacs), latency, memory)
    return Truth(log_latency=latency, log_frm=frm, top1=history.facts.top1)


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
    requested = set(evaluation.predictors) - {AUTO} | {"transfer"}
    requested |= set(CHOICES) if AUTO in evaluation.predictors else set()
    settings = chosen_settings(fold, noise_sd=options.measurement_sd)
    learnt = {}
    for name in [*CHOICES, *sorted(requested - set(CHOICES))]:
        if name in requested:
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
        scores = score_belief(belief, setting.truth, confidence=confidence, rng=rng)
        rows.append(scores | score_frm(cost, setting.truth))
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
        finite = values[np.isfinite(values)]
        means[key] = float(finite.mean()) if finite.size else float("nan")
    return means


def _weighted(rows: list[dict[str, object]], sources: int) -> Iterator[dict[str, object]]:
    for row in rows:
        yield row | {"weight": 1 / sources}


def _budget_anchors(evaluation: EvaluationOptions) -> int:
    return max((count for count in evaluation.anchors if count <= BUDGET_ANCHORS), default=0)


def _log_frm(setting: _Setting, belief: Belief) -> Floats:
    return log_frm(np.log(setting.history.facts.gmacs), belief.location, setting.transfer_memory)


def _memory_location(training: ResultMatrix, group: Words) -> Floats:
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
    wrong = frontier(belief.location[judged], top1) != frontier(truth.log_latency[judged], top1)
    for family in np.unique(setting.history.families[judged]):
        members = setting.history.families[judged] == family
        yield {"family": family, "models": int(members.sum()), "failures": int(wrong[members].sum())}


def _random_anchors(row: Floats, setting: _Setting, rng: np.random.Generator) -> Iterator[Anchors]:
    finite = np.flatnonzero(np.isfinite(row) & np.isfinite(setting.truth.top1))
    count = _budget_anchors(setting.evaluation)
    if setting.held.protocol == "chip" and 0 < count < finite.size:
        for _ in range(setting.evaluation.random_seeds):
            yield Anchors.of_row(row, rng.choice(finite, count, replace=False))


def score_belief(belief: Belief, truth: Truth, *, confidence: float, rng: np.random.Generator) -> dict[str, float]:
    """Return the scores of a calibrated belief of log latency against the truth; NaN where undefined.

    Frontiers and ranks are judged over all models that have the truth, a prediction and an
    accuracy, including anchors, because the user has those too. Errors and coverage are over the models
    that were not measured.
    """
    judged = np.isfinite(truth.log_latency) & np.isfinite(belief.location) & np.isfinite(truth.top1)
    if judged.sum() < MIN_TRUTHS:
        return {}
    scores = _frontier_scores(belief, truth, judged, rng)
    scores |= _rank_scores(belief.location[judged], truth.log_latency[judged])
    return scores | _error_scores(belief, truth, confidence)


def score_frm(log_frm: Floats, truth: Truth) -> dict[str, float]:
    """Return the scores of a predicted accuracy-FRM frontier (paper 5.3)."""
    judged = np.isfinite(truth.log_frm) & np.isfinite(log_frm) & np.isfinite(truth.top1)
    if judged.sum() < MIN_TRUTHS:
        return {}
    top1 = truth.top1[judged]
    result = score(frontier(log_frm[judged], top1), frontier(truth.log_frm[judged], top1))
    rho = spearman(log_frm[judged][None], truth.log_frm[judged][None], min_models=2)[0]
    return {
        "frm_precision": result.precision,
        "frm_recall": result.recall,
        "frm_f1": result.f1,
        "frm_spearman": float(rho[0, 0]),
    }


def _frontier_scores(belief: Belief, truth: Truth, judged: Mask, rng: np.random.Generator) -> dict[str, float]:
    top1, latency = truth.top1[judged], truth.log_latency[judged]
    predicted = frontier(belief.location[judged], top1)
    true = frontier(latency, top1)
    result = score(predicted, true)
    probability = memberships(belief.draws(_DRAWS, rng)[:, judged], top1).mean(axis=0)
    return {
        "precision": result.precision,
        "recall": result.recall,
        "f1": result.f1,
        "regret": regret(predicted, latency, top1),
        "brier": float(np.mean((probability - true) ** 2)),
        "brier_of_points": float(np.mean((predicted.astype(float) - true) ** 2)),
    }


def _rank_scores(predicted: Floats, true: Floats) -> dict[str, float]:
    return {
        "spearman": float(spearman(predicted[None], true[None], min_models=2)[0][0, 0]),
        "kendall": float(kendalltau(predicted, true).statistic),
    }


def _error_scores(belief: Belief, truth: Truth, confidence: float) -> dict[str, float]:
    """Return coverage of intervals and, if milliseconds are predicted, the mean absolute relative error."""
    error = departures(belief, truth.log_latency)
    finite = np.isfinite(error)
    if not finite.any():
        return {}
    low, high = belief.interval(confidence)
    half = (high - low)[finite] / 2
    scores = {"coverage": float(np.mean(np.abs(error[finite]) <= half))}
    if belief.absolute:
        scores["mape"] = float(np.mean(np.abs(np.expm1(-error[finite]))))
    return scores


def reliability(belief: Belief, truth: Truth, rng: np.random.Generator) -> tuple[Floats, Mask]:
    """Return the frontier probability of each judged unmeasured model, and whether it is on the true frontier."""
    judged = np.isfinite(truth.log_latency) & np.isfinite(belief.location) & np.isfinite(truth.top1)
    top1 = truth.top1[judged]
    probability = memberships(belief.draws(_DRAWS, rng)[:, judged], top1).mean(axis=0)
    unmeasured = ~belief.measured[judged]
    return probability[unmeasured], frontier(truth.log_latency[judged], top1)[unmeasured]


def budget_rows(belief: Belief, truth: Truth, *, confidence: float) -> list[dict[str, float]]:
    """Return the outcome of the pick for budgets at quartiles of the true latency.

    `violated`: the pick exceeds the budget. `given_up`: points of accuracy below the best model
    within it. One row per budget for picking with confidence (`factor` 0) and one for each fixed
    safety factor on the point prediction (1: none). Without a pick, the least accurate model is used.
    """
    judged = np.isfinite(truth.log_latency) & np.isfinite(belief.location) & np.isfinite(truth.top1)
    latency, top1 = truth.log_latency[judged], truth.top1[judged]
    location = belief.location[judged]
    rows = []
    for quantile, budget in zip(BUDGET_QUANTILES, np.quantile(latency, BUDGET_QUANTILES), strict=True):
        best = top1[latency <= budget].max()
        sure = belief.probability_below(float(budget))[judged] >= confidence
        choices = [(0.0, sure)] + [(float(f), location + np.log(f) <= budget) for f in SAFETY_FACTORS]
        for factor, fits in choices:
            violated, chosen = _outcome(fits, latency, top1, float(budget))
            rows.append(
                {"quantile": quantile, "factor": factor, "violated": violated, "given_up": max(best - chosen, 0.0)}
            )
    return rows


def _outcome(fits: Mask, latency: Floats, top1: Floats, budget: float) -> tuple[float, float]:
    if not fits.any():
        return 0.0, float(top1.min())
    candidates = np.flatnonzero(fits)
    pick = candidates[np.argmax(top1[candidates])]
    broken = bool(latency[pick] > budget)
    return float(broken), float(top1[pick])
