"""The protocol that hides models: one not run on the target, and one not run anywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers
from frm_mlflow.prediction.anchors import Anchors
from frm_mlflow.prediction.folds import fold_of
from frm_mlflow.prediction.history import History
from frm_mlflow.prediction.options import PredictionOptions
from frm_mlflow.prediction.predictors import Transfer
from frm_mlflow.prediction.prior import with_level
from frm_mlflow.prediction.tuning import chosen_settings

_MOST_ROWS = 16


def new_model_rows(history: History, options: PredictionOptions, *, min_models: int) -> pd.DataFrame:
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
    history: History, others: History, row: int, transfer: Transfer, options: PredictionOptions
) -> list[tuple[object, float, bool]]:
    model = transfer(others, history.groups[row], "latency")
    prior = with_level(model.prior)
    truth = history.log_latency[row]
    known = np.flatnonzero(np.isfinite(truth) & np.isfinite(prior.location))
    found = []
    for hidden in known:
        anchors = Anchors.of_row(truth, known[known != hidden])
        belief = prior.given(anchors.positions, anchors.log_values, noise_sd=options.measurement_sd)
        low, high = belief.interval(options.confidence)
        found.append((history.chips[row], *_outcome(belief.location, low, high, truth, int(hidden))))
    return found


def _hidden_everywhere(
    history: History, others: History, row: int, transfer: Transfer, options: PredictionOptions
) -> list[tuple[object, float, bool]]:
    truth = history.log_latency[row]
    found = []
    for hidden in np.flatnonzero(np.isfinite(truth))[::4]:
        cells = others.log_latency.copy()
        cells[:, hidden] = np.nan
        kept = replace(others, log_latency=cells)
        model = transfer(kept, history.groups[row], "latency")
        prior = with_level(model.prior)
        known: Integers = np.flatnonzero(np.isfinite(truth) & np.isfinite(prior.location))
        if hidden not in known:
            continue
        anchors = Anchors.of_row(truth, known[known != hidden])
        belief = prior.given(anchors.positions, anchors.log_values, noise_sd=options.measurement_sd)
        low, high = belief.interval(options.confidence)
        found.append((history.chips[row], *_outcome(belief.location, low, high, truth, int(hidden))))
    return found


def _outcome(location: Floats, low: Floats, high: Floats, truth: Floats, index: int) -> tuple[float, bool]:
    error = float(np.abs(np.expm1(location[index] - truth[index])))
    return error, bool(low[index] <= truth[index] <= high[index])
