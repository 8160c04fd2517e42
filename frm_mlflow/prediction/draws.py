"""What follows from joint draws: ranks, ratios to the baseline, FRM, and near-ties on the frontier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.analysis.frm import log_frm
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.prediction.belief import Belief

_MOST_CANDIDATES = 200
_UNDECIDED = (0.05, 0.95)
_TIE = (0.2, 0.8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bands:
    """Medians and intervals of M models from joint draws: ranks, ratios to the baseline, FRM."""

    rank_low: Floats
    rank_high: Floats
    ratio: Floats
    ratio_low: Floats
    ratio_high: Floats
    frm: Floats
    frm_low: Floats
    frm_high: Floats


def frm_draws_of(
    sources: ResultMatrix, draws: Floats, memory: Belief | None, baseline: int, rng: np.random.Generator
) -> Floats:
    """Return draws of log FRM (paper eq. 1), (D, M); NaN if FLOPs or memory are unknown."""
    if memory is None:
        return np.full(draws.shape, np.nan)
    log_costs = log_frm(np.log(sources.facts.gmacs), draws, memory.draws(len(draws), rng))
    return log_costs - log_costs[:, [baseline]]


def bands_of(draws: Floats, frm_draws: Floats, baseline: int, confidence: float) -> Bands:
    """Return medians and intervals from joint draws (D, M) of log latency and log FRM."""
    tails = [(1 - confidence) / 2, 0.5, (1 + confidence) / 2]
    order = np.where(np.isfinite(draws[0]), draws.argsort(axis=1).argsort(axis=1) + 1.0, np.nan)
    rank_low, _, rank_high = np.quantile(order, tails, axis=0)
    ratio_low, ratio, ratio_high = np.exp(np.quantile(draws - draws[:, [baseline]], tails, axis=0))
    frm_low, frm, frm_high = np.exp(np.quantile(frm_draws, tails, axis=0))
    return Bands(
        rank_low=rank_low,
        rank_high=rank_high,
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        frm=frm,
        frm_low=frm_low,
        frm_high=frm_high,
    )


def rivals(draws: Floats, values: Floats, probability: Floats) -> list[tuple[int, int, float]]:
    """Return near-ties (model, rival, probability that the rival is cheaper) among undecided models.

    The rival is at least as accurate, and the draws do not settle which of the two is cheaper.
    If there are several, it is the one closest to even odds. Only models whose frontier membership is undecided
    have one.
    """
    undecided = np.flatnonzero((probability > _UNDECIDED[0]) & (probability < _UNDECIDED[1]))
    candidates = np.flatnonzero(probability > _UNDECIDED[0])[:_MOST_CANDIDATES]
    ties = []
    for model in undecided[:_MOST_CANDIDATES]:
        at_least_as_accurate = candidates[(values[candidates] >= values[model]) & (candidates != model)]
        if not at_least_as_accurate.size:
            continue
        cheaper = (draws[:, at_least_as_accurate] < draws[:, [model]]).mean(axis=0)
        closest = int(np.argmin(np.abs(cheaper - 0.5)))
        if _TIE[0] < cheaper[closest] < _TIE[1]:
            ties.append((int(model), int(at_least_as_accurate[closest]), float(cheaper[closest])))
    return ties
