"""Scores of one belief, given the truth of the held-out configuration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from frm_mlflow.analysis.arrays import Floats, Mask
from frm_mlflow.analysis.pareto import regret, score
from frm_mlflow.analysis.ranks import spearman
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.folds import MIN_TRUTHS, departures
from frm_mlflow.prediction.membership import memberships, point_frontier

BUDGET_QUANTILES = (0.25, 0.5, 0.75)
SAFETY_FACTORS = np.round(np.arange(1.0, 2.501, 0.01), 2)
_DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Measured log latency and log FRM (M,) of the held-out configuration and the models' accuracies."""

    log_latency: Floats
    log_frm: Floats
    top1: Floats


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
    found = score(point_frontier(log_frm[judged], top1), point_frontier(truth.log_frm[judged], top1))
    rho = spearman(log_frm[judged][None], truth.log_frm[judged][None], min_models=2)[0]
    return {
        "frm_precision": found.precision,
        "frm_recall": found.recall,
        "frm_f1": found.f1,
        "frm_spearman": float(rho[0, 0]),
    }


def _frontier_scores(belief: Belief, truth: Truth, judged: Mask, rng: np.random.Generator) -> dict[str, float]:
    top1, latency = truth.top1[judged], truth.log_latency[judged]
    predicted = point_frontier(belief.location[judged], top1)
    true = point_frontier(latency, top1)
    found = score(predicted, true)
    probability = memberships(belief.draws(_DRAWS, rng)[:, judged], top1).mean(axis=0)
    return {
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
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
    known = np.isfinite(error)
    if not known.any():
        return {}
    low, high = belief.interval(confidence)
    half = (high - low)[known] / 2
    scores = {"coverage": float(np.mean(np.abs(error[known]) <= half))}
    if belief.absolute:
        scores["mape"] = float(np.mean(np.abs(np.expm1(-error[known]))))
    return scores


def reliability(belief: Belief, truth: Truth, rng: np.random.Generator) -> tuple[Floats, Mask]:
    """Return the frontier probability of each judged unmeasured model, and whether it is on the true frontier."""
    judged = np.isfinite(truth.log_latency) & np.isfinite(belief.location) & np.isfinite(truth.top1)
    top1 = truth.top1[judged]
    probability = memberships(belief.draws(_DRAWS, rng)[:, judged], top1).mean(axis=0)
    unmeasured = ~belief.measured[judged]
    return probability[unmeasured], point_frontier(truth.log_latency[judged], top1)[unmeasured]


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
