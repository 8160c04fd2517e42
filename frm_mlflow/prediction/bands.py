"""Ranks, ratios to the baseline and FRM, derived from joint draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.history import History


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
    sources: History, draws: Floats, memory: Belief | None, baseline: int, rng: np.random.Generator
) -> Floats:
    """Return draws of log FRM (paper eq. 1), (D, M); NaN if FLOPs or memory are unknown."""
    if memory is None:
        return np.full(draws.shape, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_costs = (np.log(sources.gmacs) + draws + memory.draws(len(draws), rng)) / 3
    relative: Floats = log_costs - log_costs[:, [baseline]]
    return relative


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
