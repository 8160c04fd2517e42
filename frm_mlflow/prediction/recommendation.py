"""`recommend`: the most accurate model that satisfies the limits with the required confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.options import Constraints
from frm_mlflow.prediction.prediction import Prediction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recommendation:
    """The model to ship, or the closest ones if nothing fits.

    `probability` (M,) is the probability of satisfying all limits. `order` ranks all candidates, the pick
    first. `picked` is None if no model satisfies the limits with the required confidence.
    `flops_pick` is the choice by FLOPs alone (paper section 6): the lowest FLOPs among models
    that are accurate enough.
    """

    prediction: Prediction
    constraints: Constraints
    picked: int | None
    order: Integers
    probability: Floats
    overshoot: Floats
    flops_pick: int | None

    @property
    def to_check(self) -> tuple[str, ...]:
        """The pick, or the closest model if nothing fits; empty if it was already measured on the target."""
        best = self.order[:1]
        return tuple(self.prediction.sources.models[i] for i in best if not self.prediction.latency.measured[i])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `candidates`: the pick and its runners-up, or the closest models if nothing fits."""
        shown = self.order[: self.constraints.alternatives + 1]
        latency, sources = self.prediction.latency, self.prediction.sources
        low, high = latency.interval(self.prediction.confidence)
        level = 0.0 if self.prediction.absolute else np.nan
        table = pd.DataFrame(
            {
                "model": [sources.models[index] for index in shown],
                "top1": sources.facts.top1[shown],
                "latency_ms": np.exp(latency.location[shown] + level),
                "latency_low_ms": np.exp(low[shown] + level),
                "latency_high_ms": np.exp(high[shown] + level),
                "probability_fits": self.probability[shown],
                "overshoot_if_wrong": self.overshoot[shown],
                "gmacs": sources.facts.gmacs[shown],
                "measured": latency.measured[shown],
                "picked": shown == (-1 if self.picked is None else self.picked),
            }
        )
        return {"candidates": table}

    def summary(self) -> tuple[str, ...]:
        """Return the advice, the cost of being wrong, and the pick by FLOPs alone."""
        return (*self._pick(), *self._flops(), *self.prediction.summary()[1:])

    def metrics(self) -> dict[str, float]:
        """Return the metrics to log to a prediction run."""
        metrics = {"prediction/feasible_models": float((self.probability >= self.constraints.confidence).sum())}
        if self.picked is not None:
            metrics["prediction/picked_top1"] = float(self.prediction.sources.facts.top1[self.picked])
            metrics["prediction/picked_probability"] = float(self.probability[self.picked])
        return self.prediction.metrics() | metrics

    def _pick(self) -> tuple[str, ...]:
        names = self.prediction.sources.models
        if self.picked is None:
            closest = ", ".join(
                f"{names[i]} ({self.prediction.latency_words(i)}; meets the limits with probability "
                f"{self.probability[i]:.0%})"
                for i in self.order[:3]
            )
            return (
                f"No model meets the limits ({limits(self.constraints)}) with {self.constraints.confidence:.0%} "
                f"confidence. {f'The closest are {closest}.' if closest else 'No model has a prediction.'}",
            )
        top1 = self.prediction.sources.facts.top1[self.picked]
        first = f"Ship {names[self.picked]} ({top1:.1f} %): {self._cost(self.picked)}."
        return first, *self._if_wrong(self.picked), *self._more_accurate(self.picked)

    def _cost(self, index: int) -> str:
        """Return latency and limited memory, each with its limit, and the probability of satisfying all limits."""
        limit = self.constraints
        words = self.prediction.latency_words(index)
        if limit.max_latency_ms is not None:
            words += f"; your limit is {limit.max_latency_ms:g} ms"
        if limit.max_memory_mib is not None:
            words += f". Peak memory {self.prediction.memory_words(index)}; your limit is {limit.max_memory_mib:g} MiB"
        if limit.min_top1 is not None:
            words += f". Your minimum accuracy is {limit.min_top1:g} %"
        if limit.max_latency_ms is None and limit.max_memory_mib is None:
            return words
        return f"{words}. It meets {limits(limit)} with probability {self.probability[index]:.0%}"

    def _if_wrong(self, picked: int) -> tuple[str, ...]:
        if self.constraints.max_latency_ms is None or self.prediction.latency.measured[picked]:
            return ()
        return (f"If it exceeds the latency limit, the excess is {self.overshoot[picked]:.0%} on average.",)

    def _more_accurate(self, picked: int) -> tuple[str, ...]:
        top1, names = self.prediction.sources.facts.top1, self.prediction.sources.models
        better = np.flatnonzero((top1 > top1[picked]) & (self.probability > 0.1))
        if not better.size:
            return ()
        best = better[np.argmax(self.probability[better])]
        gain = top1[best] - top1[picked]
        return (
            f"{names[best]} is {gain:.1f} points more accurate and meets the limits with probability "
            f"{self.probability[best]:.0%}: measure it on the target before you rule it out.",
        )

    def _flops(self) -> tuple[str, ...]:
        if self.flops_pick is None:
            return ()
        names, chance = self.prediction.sources.models, self.probability[self.flops_pick]
        name = names[self.flops_pick]
        if self.flops_pick == self.picked:
            return (f"By FLOPs alone the choice would be the same: {name}.",)
        top1 = self.prediction.sources.facts.top1[self.flops_pick]
        return (
            f"By FLOPs alone the choice would be {name} (top-1 {top1:.1f} %), which meets the limits with probability "
            f"{chance:.0%}.",
        )


def limits(constraints: Constraints) -> str:
    """Return the limits as text."""
    words = []
    if constraints.max_latency_ms is not None:
        words.append(f"{constraints.max_latency_ms:g} ms")
    if constraints.max_memory_mib is not None:
        words.append(f"{constraints.max_memory_mib:g} MiB")
    if constraints.min_top1 is not None:
        words.append(f"top-1 of at least {constraints.min_top1:g} %")
    return " and ".join(words) or "no limit"


def recommend(prediction: Prediction, constraints: Constraints) -> Recommendation:
    """Return the most accurate model that satisfies every limit with `constraints.confidence`.

    Raises
    ------
    DataError
        If a limit is in ms or MiB and nothing was measured on the target: in that case the ratios between
        models are known, but not milliseconds. Also if no model has an accuracy.
    """
    if constraints.max_latency_ms is not None and not prediction.absolute:
        raise DataError(_REFUSAL.format(what="milliseconds", device=prediction.target.device))
    if constraints.max_memory_mib is not None and (prediction.memory is None or not prediction.memory.absolute):
        raise DataError(_REFUSAL.format(what="MiB", device=prediction.target.device))
    top1 = prediction.sources.facts.top1
    if not np.isfinite(top1).any():
        raise DataError("no model has an accuracy, so none can be called the most accurate: import or measure top-1")
    probability = _probability(prediction, constraints)
    order = ranked(probability, top1, _excess(prediction, constraints), constraints.confidence)
    fits = bool(order.size and probability[order[0]] >= constraints.confidence)
    return Recommendation(
        prediction=prediction,
        constraints=constraints,
        picked=int(order[0]) if fits else None,
        order=order,
        probability=probability,
        overshoot=_overshoot(prediction, constraints),
        flops_pick=_least_flops(prediction, _accurate(prediction, constraints)),
    )


_REFUSAL = (
    "cannot predict {what} on {device}, because nothing was measured on it. Leave the limit out to rank the models, "
    "or measure one to five models first (frm-mlflow plan lists them)"
)


def ranked(probability: Floats, top1: Floats, excess: Floats, confidence: float) -> Integers:
    """Return candidates in order: those that fit by accuracy, then the others by their distance from fitting."""
    finite = np.flatnonzero(np.isfinite(top1) & np.isfinite(probability))
    fits = probability[finite] >= confidence
    key = np.where(fits, -top1[finite], excess[finite])
    order = np.lexsort((-probability[finite], key, ~fits))
    ordered: Integers = finite[order]
    return ordered


def _excess(prediction: Prediction, constraints: Constraints) -> Floats:
    """Return each model's expected excess over the limits: log latency, log memory, tens of points of accuracy."""
    excess = np.zeros(prediction.latency.location.size)
    if constraints.max_latency_ms is not None:
        excess += np.maximum(prediction.latency.location - np.log(constraints.max_latency_ms), 0)
    if constraints.max_memory_mib is not None and prediction.memory is not None:
        excess += np.maximum(prediction.memory.location - np.log(constraints.max_memory_mib), 0)
    if constraints.min_top1 is not None:
        excess += np.maximum(constraints.min_top1 - prediction.sources.facts.top1, 0) / 10
    return excess


def _probability(prediction: Prediction, constraints: Constraints) -> Floats:
    """Return each model's probability of satisfying all limits; latency and memory are treated as independent."""
    probability = np.where(_accurate(prediction, constraints), 1.0, 0.0)
    if constraints.max_latency_ms is not None:
        probability = probability * prediction.latency.probability_below(float(np.log(constraints.max_latency_ms)))
    if constraints.max_memory_mib is not None and prediction.memory is not None:
        probability = probability * prediction.memory.probability_below(float(np.log(constraints.max_memory_mib)))
    return np.where(np.isfinite(prediction.latency.location), probability, np.nan)


def _accurate(prediction: Prediction, constraints: Constraints) -> Mask:
    lowest = -np.inf if constraints.min_top1 is None else constraints.min_top1
    enough: Mask = prediction.sources.facts.top1 >= lowest
    return enough


def _overshoot(prediction: Prediction, constraints: Constraints) -> Floats:
    """Return the average relative excess over the latency limit when it is exceeded, (M,)."""
    if constraints.max_latency_ms is None:
        return np.full(prediction.latency.location.size, np.nan)
    levels = np.linspace(0.5 / 200, 1 - 0.5 / 200, 200)
    quantiles = prediction.latency.quantiles(levels) - np.log(constraints.max_latency_ms)
    exceeds = quantiles > 0
    excess = np.where(exceeds, np.expm1(quantiles), 0.0).sum(axis=0)
    share: Floats = excess / np.maximum(exceeds.sum(axis=0), 1)
    return share


def _least_flops(prediction: Prediction, accurate: Mask) -> int | None:
    gmacs = np.where(accurate, prediction.sources.facts.gmacs, np.nan)
    return None if np.isnan(gmacs).all() else int(np.nanargmin(gmacs))
