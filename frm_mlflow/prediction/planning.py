"""`plan`: which models to measure next on the target, and when to stop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask
from frm_mlflow.analysis.pareto import memberships
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.history import AnchorChoice, Scene, scene_of
from frm_mlflow.prediction.options import PlanOptions, PredictionOptions, Target
from frm_mlflow.prediction.prediction import Prediction, predict_scene
from frm_mlflow.prediction.prior import with_level

LATENCY_SHARE = 1.0
"""Weight of the information about latencies, relative to 1 for the information about the frontier."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Models to measure next, the most informative first; empty if more would not change the frontier.

    `doubt` is the number of models expected on the wrong side of the frontier now, and
    `doubt_after` the number after each pick and all picks before it are measured.
    """

    target: Target
    prediction: Prediction
    picks: Integers
    doubt: float
    doubt_after: Floats
    stopped: bool
    settled: bool
    """True if planning stopped because few enough models are in doubt, and not because no models were left."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the planned models, in order."""
        return tuple(self.prediction.sources.models[index] for index in self.picks)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `plan`: the picks in order, with the remaining doubt after each."""
        sources = self.prediction.sources
        table = pd.DataFrame(
            {
                "order": np.arange(1, len(self.picks) + 1),
                "model": self.models,
                "family": sources.families[self.picks],
                "top1": sources.facts.top1[self.picks],
                "frontier_probability": self.prediction.on_frontier[self.picks],
                "doubt_after": self.doubt_after,
            }
        )
        return {"plan": table}

    def summary(self) -> tuple[str, ...]:
        """Return what to measure and why, or why to stop."""
        doubt = f"{self.doubt:.2f} models are expected on the wrong side of the frontier"
        if self.stopped and not self.settled:
            return (f"No other model can be measured, and {doubt}.",)
        if self.stopped:
            return (f"Nothing more to measure: after {len(self.prediction.anchors)} measurements, {doubt}.",)
        return (
            f"Measure {', '.join(self.models)}. Now {doubt}; after these measurements it will be "
            f"{self.doubt_after[-1]:.2f}.",
            "Plan again after each measurement: the next choice depends on its result.",
        )

    def metrics(self) -> dict[str, float]:
        """Return the metrics to log to a prediction run."""
        after = float(self.doubt_after[-1]) if len(self.doubt_after) else self.doubt
        return self.prediction.metrics() | {
            "prediction/planned": float(len(self.picks)),
            "prediction/doubt_after_plan": after,
        }


def plan(
    frame: pd.DataFrame,
    target: Target,
    options: PredictionOptions,
    plan_options: PlanOptions,
    rng: np.random.Generator,
    *,
    anchors: AnchorChoice = None,
    sources: Sequence[str] | None = None,
    buildable: Collection[str] | None = None,
) -> Plan:
    """Return what to measure next on `target`; `anchors` and `sources` are as in `predict`.

    `buildable` are the models that can be built for a benchmark, and only these are proposed. None allows every model.
    """
    scene = scene_of(frame, target, anchors=anchors, sources=sources)
    prediction = predict_scene(scene, options, rng)
    doubt = frontier_doubt(prediction.on_frontier)
    belief = _unsettled(prediction.latency)
    settled = prediction.absolute and doubt < plan_options.stop_below
    picks: Integers = np.zeros(0, dtype=np.intp)
    after: Floats = np.zeros(0)
    if not settled:
        picks, after = _picks(
            belief, prediction.sources.facts.top1, _runnable(scene, belief, buildable), plan_options, options.draws, rng
        )
    return Plan(
        target=scene.target,
        prediction=prediction,
        picks=picks,
        doubt=doubt,
        doubt_after=after,
        stopped=len(picks) == 0,
        settled=settled,
    )


def next_anchor(draws: Floats, top1: Floats, allowed: Mask, *, n: int, latency_share: float) -> Integers:
    """Return the `allowed` models whose measurement is most informative, from joint `draws` (D, M) of log latency."""
    members = memberships(draws, top1)
    return next_models(np.where(np.isfinite(draws), draws, 0.0), members, allowed, n=n, latency_share=latency_share)


def _runnable(scene: Scene, belief: Belief, buildable: Collection[str] | None) -> Mask:
    """Return the unmeasured models that can be built and were run by a source in the target's group, if any exists."""
    alike = (scene.sources.groups == scene.group).all(axis=1)
    seen = np.isfinite(scene.sources.log_latency[alike]).any(axis=0) if alike.any() else True
    runnable: Mask = np.isfinite(belief.location) & ~belief.measured & seen
    if buildable is not None:
        runnable &= np.isin(np.array(scene.sources.models), list(buildable))
    return runnable


def _unsettled(belief: Belief) -> Belief:
    return belief if belief.absolute else with_level(belief)


def _picks(
    belief: Belief, top1: Floats, allowed: Mask, options: PlanOptions, n_draws: int, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    drawn = belief.draws(n_draws, rng)
    picks = next_anchor(drawn, top1, allowed, n=options.budget, latency_share=options.latency_share)
    after = [_doubt_after(belief, top1, picks[: index + 1], drawn, rng) for index in range(len(picks))]
    enough = np.flatnonzero(np.array(after) < options.stop_below)
    kept = int(enough[0]) + 1 if enough.size else len(picks)
    return picks[:kept], np.array(after[:kept])


_FANTASIES = 12


def _doubt_after(belief: Belief, top1: Floats, picks: Integers, drawn: Floats, rng: np.random.Generator) -> float:
    """Return the expected doubt after `picks` are measured, over a few draws of their results."""
    doubts = []
    for outcome in drawn[:_FANTASIES]:
        unmeasured = picks[~belief.measured[picks]]
        updated = belief.given(unmeasured, outcome[unmeasured], noise_sd=1e-3)
        doubts.append(frontier_doubt(memberships(updated.draws(200, rng), top1).mean(axis=0)))
    return float(np.mean(doubts))


def next_models(
    draws: Floats, members: Mask, allowed: Mask, *, n: int, latency_share: float = LATENCY_SHARE
) -> Integers:
    """Return up to `n` models whose measurements together are expected to be most informative.

    `draws` (D, M) are draws of log latency and `members` (D, M) the frontiers of those draws. A
    measurement explains the share of a variance that is linear in it. What earlier picks explain
    is removed before the next pick (forward selection on draws).
    """
    latency = draws - draws.mean(axis=0)
    member = members - members.mean(axis=0, dtype=np.float64)
    uncertain = latency[:, allowed].any(axis=0)
    usable = np.flatnonzero(allowed)[uncertain]
    picks: list[int] = []
    while len(picks) < n and len(picks) < usable.size:
        gain = _gain(latency, member, usable, latency_share)
        gain[np.isin(usable, picks)] = -1.0
        best = int(usable[np.argmax(gain)])
        picks.append(best)
        axis = latency[:, best] / max(float(np.linalg.norm(latency[:, best])), 1e-12)
        latency = latency - np.outer(axis, axis @ latency)
        member = member - np.outer(axis, axis @ member)
    return np.array(picks, dtype=np.intp)


def frontier_doubt(probability: Floats) -> float:
    """Return the expected number of models on the wrong side of the frontier if each takes its more probable side."""
    return float(np.minimum(probability, 1 - probability).sum())


def _gain(latency: Floats, member: Floats, usable: Integers, latency_share: float) -> Floats:
    """Return each usable model's gain: explained variance of members and of latencies, each relative to its largest."""
    spread = np.maximum(np.linalg.norm(latency[:, usable], axis=0), 1e-12)
    unit = latency[:, usable] / spread
    undecided = member.any(axis=0)
    tells_frontier = _cut(unit, member[:, undecided])
    tells_latency = _cut(unit, latency)
    gain: Floats = _over_largest(tells_frontier) + latency_share * _over_largest(tells_latency)
    return gain


def _cut(unit: Floats, values: Floats) -> Floats:
    """Return the logarithm of the factor by which each direction reduces the variance of `values`.

    The logarithm matters for the first anchor: nearly all variance is the device's overall level, which
    any model reveals, so what matters is how little variance remains.
    """
    total = float((values**2).sum())
    if total == 0:
        return np.zeros(unit.shape[1])
    explained = ((unit.T @ values) ** 2).sum(axis=1) / total
    cut: Floats = -np.log1p(-np.minimum(explained, 1 - 1e-12))
    return cut


def _over_largest(values: Floats) -> Floats:
    largest = values.max(initial=0.0)
    return values / largest if largest > 0 else np.zeros_like(values)
