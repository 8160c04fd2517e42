"""Data that is held out together, and models that are hidden: strict protocols for any history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.belief import Anchors
from frm_mlflow.prediction.learning import chosen_settings, fold_of
from frm_mlflow.prediction.options import PredictionOptions
from frm_mlflow.prediction.predictors import Transfer
from frm_mlflow.prediction.prior import with_level
from frm_mlflow.schema import DEVICE, GENERATION, TIER

_MOST_ROWS = 16
"""Maximum number of configurations on which models are hidden."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """One configuration to predict, and the configurations that may be used for training."""

    protocol: str
    part: str
    """The held-out part, or for tiers "source to target"."""
    row: int
    training: Mask


def held_out(history: ResultMatrix, protocol: str, *, min_models: int) -> Iterator[HeldOut]:
    """Yield the configurations to predict, each with at least `min_models` models.

    - `chip` (and `device`): all devices and runtimes of the chip are held out. A chip that is not
      known is replaced by its device. `device` differs only if one chip is listed under several devices.
    - `generation`: all chips of the chip generation or, if it is unknown, only the chip.
    - `tier`: trained on each other tier alone, without the target's chip.
    - `model`: as `chip`, but the caller hides models instead.

    Raises
    ------
    DataError
        If the history has no second part to learn from.
    """
    parts = _parts(history, protocol)
    enough = np.isfinite(history.log_latency).sum(axis=1) >= min_models
    if len(set(parts)) < 2:
        raise DataError(f"protocol {protocol}: the history holds one {protocol} only ({parts[0]})")
    if not enough.any():
        raise DataError(f"protocol {protocol}: no configuration has {min_models} models; lower evaluation.min_models")
    for row in np.flatnonzero(enough):
        others = history.chips != history.chips[row]
        if protocol != "tier":
            yield HeldOut(
                protocol=protocol, part=str(parts[row]), row=int(row), training=others & (parts != parts[row])
            )
            continue
        for source in sorted(set(parts) - {parts[row]}):
            yield HeldOut(
                protocol=protocol, part=f"{source} to {parts[row]}", row=int(row), training=others & (parts == source)
            )


def _parts(history: ResultMatrix, protocol: str) -> Words:
    table = history.configurations
    if protocol == "tier":
        return table[TIER.column].to_numpy(dtype=object)
    if protocol == "device":
        return table[DEVICE.column].to_numpy(dtype=object)
    if protocol == "generation":
        generation = table[GENERATION.column].to_numpy(dtype=object)
        return np.where(generation == "", history.chips, generation)
    return history.chips


def new_model_rows(history: ResultMatrix, options: PredictionOptions, *, min_models: int) -> pd.DataFrame:
    """Return the errors for a model that is new on a known device, by what other data about it is available.

    `elsewhere`: every other model was measured on the target, this one only on other chips.
    `nowhere`: this model was never run; only GMACs, parameters and family are available.
    """
    rows = np.flatnonzero(np.isfinite(history.log_latency).sum(axis=1) >= min_models)
    rows = rows[np.linspace(0, len(rows) - 1, min(_MOST_ROWS, len(rows))).astype(np.intp)]
    table = []
    for row in rows:
        others = history.select(history.chips != history.chips[row])
        if others.n_configurations:
            fold = fold_of(others, history.groups[row], "latency")
            settings = chosen_settings(fold, noise_sd=options.measurement_sd)
            transfer = Transfer(settings=settings, noise_sd=options.measurement_sd)
            table += [("elsewhere", *item) for item in _hidden_here(history, others, int(row), transfer, options)]
            table += [("nowhere", *item) for item in _hidden_everywhere(history, others, int(row), transfer, options)]
    frame = pd.DataFrame(table, columns=["measured", "chip", "error", "covered"])
    if not len(frame):
        return frame
    by_chip = frame.groupby(["measured", "chip"])[["error", "covered"]].mean().groupby("measured")
    return by_chip.mean().rename(columns={"error": "mape", "covered": "coverage"}).reset_index()


def _hidden_here(
    history: ResultMatrix, others: ResultMatrix, row: int, transfer: Transfer, options: PredictionOptions
) -> list[tuple[object, float, bool]]:
    model = transfer(others, history.groups[row], "latency")
    prior = with_level(model.prior)
    truth = history.log_latency[row]
    finite = np.flatnonzero(np.isfinite(truth) & np.isfinite(prior.location))
    outcomes = []
    for hidden in finite:
        anchors = Anchors.of_row(truth, finite[finite != hidden])
        belief = prior.given(anchors.positions, anchors.log_values, noise_sd=options.measurement_sd)
        low, high = belief.interval(options.confidence)
        outcomes.append((history.chips[row], *_outcome(belief.location, low, high, truth, int(hidden))))
    return outcomes


def _hidden_everywhere(
    history: ResultMatrix, others: ResultMatrix, row: int, transfer: Transfer, options: PredictionOptions
) -> list[tuple[object, float, bool]]:
    truth = history.log_latency[row]
    outcomes = []
    for hidden in np.flatnonzero(np.isfinite(truth))[::4]:
        cells = others.latency_ms.copy()
        cells[:, hidden] = np.nan
        kept = replace(others, latency_ms=cells)
        model = transfer(kept, history.groups[row], "latency")
        prior = with_level(model.prior)
        finite: Integers = np.flatnonzero(np.isfinite(truth) & np.isfinite(prior.location))
        if hidden not in finite:
            continue
        anchors = Anchors.of_row(truth, finite[finite != hidden])
        belief = prior.given(anchors.positions, anchors.log_values, noise_sd=options.measurement_sd)
        low, high = belief.interval(options.confidence)
        outcomes.append((history.chips[row], *_outcome(belief.location, low, high, truth, int(hidden))))
    return outcomes


def _outcome(location: Floats, low: Floats, high: Floats, truth: Floats, index: int) -> tuple[float, bool]:
    error = float(np.abs(np.expm1(location[index] - truth[index])))
    return error, bool(low[index] <= truth[index] <= high[index])
