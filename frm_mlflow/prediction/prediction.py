"""`predict`: latency, memory, FRM and the frontier of every model on one device, with uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.pareto import frontier, memberships
from frm_mlflow.prediction.advice import Advice, advice_of
from frm_mlflow.prediction.belief import Anchors, Belief
from frm_mlflow.prediction.draws import Bands, bands_of, frm_draws_of, rivals
from frm_mlflow.prediction.history import AnchorChoice, Scene, scene_of
from frm_mlflow.prediction.learning import (
    AUTO,
    CHOICES,
    Calibration,
    Choice,
    Fold,
    Learnt,
    choose,
    chosen_settings,
    fold_of,
    learn,
)
from frm_mlflow.prediction.options import PredictionOptions, Target
from frm_mlflow.prediction.predictors import Transfer
from frm_mlflow.prediction.prior import Shrinkage, with_level


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Predictions for M models on `target`.

    `latency` and `memory` are calibrated beliefs of log values (memory is None if no source has
    any). `on_frontier` and `on_frm_frontier` are probabilities of being Pareto-optimal in
    accuracy and latency, and in accuracy and FRM. `sources` are the sources it was learned from.
    """

    target: Target
    predictor: str
    choice: Choice | None
    sources: ResultMatrix
    anchors: Anchors
    latency: Belief
    memory: Belief | None
    calibration: Calibration
    bands: Bands
    frontier: Mask
    on_frontier: Floats
    on_frm_frontier: Floats
    ties: tuple[tuple[int, int, float], ...]
    advice: Advice
    baseline: str
    confidence: float

    @property
    def absolute(self) -> bool:
        """Whether milliseconds are predicted: only if something was measured on the target."""
        return self.latency.absolute

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return `models`, `near_ties`, `families` and, if the predictor was chosen automatically, `predictors`."""
        names = self.sources.models
        ties = [(names[m], names[r], p) for m, r, p in self.ties]
        tables = {
            "models": self._models(),
            "near_ties": pd.DataFrame(ties, columns=["model", "rival", "probability_rival_is_faster"]),
            "families": self.advice.families,
        }
        if self.choice:
            scores = [(name, f1, name == self.predictor) for name, f1 in self.choice.f1.items()]
            tables["predictors"] = pd.DataFrame(scores, columns=["predictor", "left_out_frontier_f1", "chosen"])
        return tables

    def latency_words(self, index: int) -> str:
        """Return a model's latency with its interval, as a measured or predicted value, or as a ratio without ms.

        `1.4 ms (1.2 to 1.7) predicted`, `1.4 ms measured`, `0.31 times the latency of resnet50 (0.25 to 0.4) predicted`
        """
        if self.latency.measured[index]:
            return f"{np.exp(self.latency.location[index]):.3g} ms measured"
        if not self.absolute and self.sources.models[index] == self.baseline:
            return "the reference"
        if not self.absolute:
            ratio, low, high = (each[index] for each in (self.bands.ratio, self.bands.ratio_low, self.bands.ratio_high))
            return f"{ratio:.2g} times the latency of {self.baseline} ({low:.2g} to {high:.2g}) predicted"
        return interval_words(self.latency, self.confidence, index, "ms")

    def memory_words(self, index: int) -> str:
        """Return a model's peak memory with its interval, "" if none is predicted in MiB."""
        memory = self.memory
        if memory is None or not memory.absolute or np.isnan(memory.location[index]):
            return ""
        if memory.measured[index]:
            return f"{np.exp(memory.location[index]):.3g} MiB measured"
        return interval_words(memory, self.confidence, index, "MiB")

    def summary(self) -> tuple[str, ...]:
        """Return the frontier as one sentence, then sentences on the prediction, its sources and its warnings."""
        members = [f"{self.sources.models[i]}: {self.latency_words(i)}" for i in np.flatnonzero(self.frontier).tolist()]
        unsure = int(((self.on_frontier > 0.1) & (self.on_frontier < 0.9)).sum())
        source = f"{self.sources.n_configurations} configurations of {len(set(self.sources.chips))} chips"
        undecided = "1 model is" if unsure == 1 else f"{unsure} models are"
        return (
            f"Frontier of accuracy and latency on {self.target.device}: {'; '.join(members) or 'none'}.",
            f"{undecided} undecided (probability of being on it between 0.1 and 0.9).",
            f"Predicted by {self.predictor} from {source} and {len(self.anchors)} measurements on the target."
            f"{self._nearest()}",
            self._width(),
            *self.advice.sentences,
        )

    def metrics(self) -> dict[str, float]:
        """Return the metrics to log to a prediction run."""
        return {
            "prediction/anchors": float(len(self.anchors)),
            "prediction/models": float(np.isfinite(self.latency.location).sum()),
            "prediction/source_configurations": float(self.sources.n_configurations),
            "prediction/interval_widening": self.calibration.widening,
            "prediction/calibration_chips": float(self.calibration.chips),
            "prediction/frontier_size": float(self.frontier.sum()),
            "prediction/frontier_doubt": float(np.minimum(self.on_frontier, 1 - self.on_frontier).sum()),
        }

    def _nearest(self) -> str:
        chips = nearest_chips(self.sources, self.latency)
        if not chips:
            return ""
        listed = ", ".join(f"{chip} ({difference:.0%})" for chip, difference in chips)
        return f" Most similar chips in the history, with their median difference in latency: {listed}."

    def _width(self) -> str:
        if not self.calibration.chips:
            return "Intervals are not calibrated: the history has too few chips to leave one out."
        level = "" if self.absolute else " Nothing was measured on the target: ranks and ratios are predicted, not ms."
        return (
            f"Intervals should cover {self.confidence:.0%} of the true values. Their widths come from "
            f"{self.calibration.chips} chips that were left out in turn, each with equal weight, and assume that the "
            f"target differs from its prediction as much as those chips do.{level}"
        )

    def _models(self) -> pd.DataFrame:
        low, high = self.latency.interval(self.confidence)
        sources, bands = self.sources, self.bands
        table = pd.DataFrame({"model": sources.models, "family": sources.families, "top1": sources.facts.top1})
        promised = np.where(self.absolute | self.latency.measured, 0.0, np.nan)
        for column, values in (
            ("latency_ms", self.latency.location),
            ("latency_low_ms", low),
            ("latency_high_ms", high),
        ):
            table[column] = np.exp(values + promised)
        if self.memory is not None:
            memory_low, memory_high = self.memory.interval(self.confidence)
            in_mib = np.where(self.memory.absolute, 0.0, np.nan)
            table["memory_mib"] = np.exp(self.memory.location + in_mib)
            table["memory_low_mib"], table["memory_high_mib"] = (
                np.exp(memory_low + in_mib),
                np.exp(memory_high + in_mib),
            )
        table["ratio_latency"], table["ratio_latency_low"] = bands.ratio, bands.ratio_low
        table["ratio_latency_high"] = bands.ratio_high
        table["frm"], table["frm_low"], table["frm_high"] = bands.frm, bands.frm_low, bands.frm_high
        table["rank"] = pd.Series(self.latency.location).rank().to_numpy()
        table["rank_low"], table["rank_high"] = bands.rank_low, bands.rank_high
        rated = np.isfinite(sources.facts.top1)
        table["frontier"] = self.frontier
        table["frontier_probability"] = np.where(rated, self.on_frontier, np.nan)
        table["frm_frontier_probability"] = np.where(rated, self.on_frm_frontier, np.nan)
        table["measured"], table["flags"] = self.latency.measured, self.advice.flags
        return table.sort_values("rank", kind="stable").reset_index(drop=True)


MIN_SHARED_MODELS = 5
"""Minimum number of common models to compare a chip with the prediction."""


def nearest_chips(sources: ResultMatrix, latency: Belief, *, limit: int = 3) -> tuple[tuple[str, float], ...]:
    """Return the source chips whose latencies are closest to the prediction, the closest first.

    Each comes with the median relative difference over the models that it shares with the
    prediction. Without absolute latencies the common factor is removed first. A chip is represented by its
    closest configuration.
    """
    apart = sources.log_latency - latency.location
    shared = np.isfinite(apart)
    closest: dict[str, float] = {}
    for chip, row, mask in zip(sources.chips, apart, shared, strict=True):
        if mask.sum() < MIN_SHARED_MODELS:
            continue
        level = 0.0 if latency.absolute else np.median(row[mask])
        difference = float(np.median(np.expm1(np.abs(row[mask] - level))))
        closest[str(chip)] = min(difference, closest.get(str(chip), np.inf))
    return tuple(sorted(closest.items(), key=lambda item: (item[1], item[0]))[:limit])


def interval_words(belief: Belief, confidence: float, index: int, unit: str) -> str:
    """Return `1.4 ms (1.2 to 1.7) predicted`: the value of one model with its central interval."""
    low, high = belief.interval(confidence)
    value, lowest, highest = (float(np.exp(each[index])) for each in (belief.location, low, high))
    return f"{value:.3g} {unit} ({lowest:.3g} to {highest:.3g}) predicted"


def predict(
    frame: pd.DataFrame,
    target: Target,
    options: PredictionOptions,
    rng: np.random.Generator,
    *,
    anchors: AnchorChoice = None,
    sources: Sequence[str] | None = None,
) -> Prediction:
    """Return the belief about every model of `frame` on `target`.

    Parameters
    ----------
    frame
        The tidy frame: the history and the measurements on the target.
    anchors
        None: all measurements in the frame on the target's configuration. Names: only these of them. A
        mapping from model to latency in ms: measured elsewhere and given directly.
    sources
        Names of the devices to learn from; None: all.

    Raises
    ------
    DataError
        If there is nothing to learn from, or a name is unknown.
    """
    return predict_scene(scene_of(frame, target, anchors=anchors, sources=sources), options, rng)


def predict_scene(scene: Scene, options: PredictionOptions, rng: np.random.Generator) -> Prediction:
    """Return the prediction for a scene."""
    fold = fold_of(scene.sources, scene.group, "latency")
    settings = chosen_settings(fold, noise_sd=options.measurement_sd)
    learnt, choice = _learnt(fold, scene, settings, options)
    latency, calibration = learnt.belief(scene.anchors, options.confidence)
    memory = _memory(scene, options)
    baseline = _baseline(scene.sources, latency, options.baseline)
    top1 = scene.sources.facts.top1
    draws = latency.draws(options.draws, rng)
    frm_draws = frm_draws_of(scene.sources, draws, memory, baseline, rng)
    on_frontier = memberships(draws, top1).mean(axis=0)
    return Prediction(
        target=scene.target,
        predictor=learnt.name,
        choice=choice,
        sources=scene.sources,
        anchors=scene.anchors,
        latency=latency,
        memory=memory,
        calibration=calibration,
        bands=bands_of(draws, frm_draws, baseline, options.confidence),
        frontier=frontier(latency.location, top1),
        on_frontier=on_frontier,
        on_frm_frontier=memberships(frm_draws, top1).mean(axis=0),
        ties=tuple(rivals(draws, top1, on_frontier)),
        advice=advice_of(scene, learnt, _surprise(scene, settings, options)),
        baseline=scene.sources.models[baseline],
        confidence=options.confidence,
    )


def _learnt(fold: Fold, scene: Scene, settings: Shrinkage, options: PredictionOptions) -> tuple[Learnt, Choice | None]:
    noise_sd = options.measurement_sd
    if options.predictor != AUTO:
        return learn(options.predictor, fold, settings=settings, noise_sd=noise_sd), None
    candidates = {name: learn(name, fold, settings=settings, noise_sd=noise_sd) for name in CHOICES}
    choice = choose(candidates, scene.anchors, scene.sources.facts.top1)
    return candidates[choice.name], choice


def _memory(scene: Scene, options: PredictionOptions) -> Belief | None:
    """Return the belief of log peak memory, always by `transfer`: reported memory is too coarse to choose by it."""
    if not np.isfinite(scene.sources.log_memory).any():
        return None
    fold = fold_of(scene.sources, scene.group, "memory")
    settings = chosen_settings(fold, noise_sd=options.measurement_sd)
    learnt = learn("transfer", fold, settings=settings, noise_sd=options.measurement_sd)
    return learnt.belief(scene.memory_anchors, options.confidence)[0]


def _baseline(sources: ResultMatrix, latency: Belief, name: str) -> int:
    """Return the position of the baseline model or, if it is unknown, of the model with median latency."""
    if name in sources.models and np.isfinite(latency.location[sources.models.index(name)]):
        return sources.models.index(name)
    return int(np.nanargmin(np.abs(latency.location - np.nanmedian(latency.location))))


def _surprise(scene: Scene, settings: Shrinkage, options: PredictionOptions) -> float:
    """Return the probability of anchors as unusual as these under the transfer prior; 1 with fewer than two."""
    if len(scene.anchors) < 2:
        return 1.0
    transfer = Transfer(settings=settings, noise_sd=options.measurement_sd)(scene.sources, scene.group, "latency")
    prior = with_level(transfer.prior)
    finite = np.isfinite(prior.location[scene.anchors.positions])
    if finite.sum() < 2:
        return 1.0
    positions, values = scene.anchors.positions[finite], scene.anchors.log_values[finite]
    return prior.surprise(positions, values, noise_sd=options.measurement_sd)
