"""`plan`: which models to measure next on the target, and when to stop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask
from frm_mlflow.prediction.acquisition import frontier_doubt, next_models
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.membership import memberships
from frm_mlflow.prediction.options import PlanOptions, PredictionOptions, Target
from frm_mlflow.prediction.prediction import Prediction, predict_scene
from frm_mlflow.prediction.prior import with_level
from frm_mlflow.prediction.scene import AnchorChoice, Scene, scene_of


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
                "top1": sources.top1[self.picks],
                "frontier_probability": self.prediction.on_frontier[self.picks],
                "doubt_after": self.doubt_after,
            }
        )
        return {"plan": table}

    def summary(self) -> tuple[str, ...]:
        """Return what to measure and why, or why to stop."""
        if self.stopped:
            doubt = f"{self.doubt:.2f} models are expected on the wrong side of the frontier"
            if not self.settled:
                return (f"No model is left that could be measured, and {doubt}.",)
            return (f"Nothing more to measure: after {len(self.prediction.anchors)} measurements {doubt}.",)
        return (
            f"Measure {', '.join(self.models)}. Now {self.doubt:.2f} models are expected on the wrong side of the "
            f"frontier, then {self.doubt_after[-1]:.2f}.",
            "Plan again after each measurement: the next pick depends on what it shows.",
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
            belief, prediction.sources.top1, _runnable(scene, belief, buildable), plan_options, options.draws, rng
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
        known = belief.given(unmeasured, outcome[unmeasured], noise_sd=1e-3)
        doubts.append(frontier_doubt(memberships(known.draws(200, rng), top1).mean(axis=0)))
    return float(np.mean(doubts))
