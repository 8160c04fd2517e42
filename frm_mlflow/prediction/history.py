"""The history that a prediction is based on: all data about every model on every configuration.

Log latency and log memory are dense matrices, configurations by models; a cell that was not
measured is NaN and stays NaN. A published job that appears under several device names belongs to
the device that ran it, so that a device is never predicted from a copy of its own measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.analysis.matrix import GROUP_COLUMNS, ResultMatrix, matrix_from_rows
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import usable_rows
from frm_mlflow.errors import DataError
from frm_mlflow.frame import tidy
from frm_mlflow.prediction.belief import Anchors
from frm_mlflow.prediction.options import Target
from frm_mlflow.schema import BATCH_SIZE, CHIP, DEVICE, GENERATION, MEASURED_ON, RESOLUTION

MIN_ROW_MODELS = 3
"""A configuration with fewer models carries no information on how models compare."""
AnchorChoice = Mapping[str, float] | Sequence[str] | None
_WHOLE = 0.8
"""Minimum share of models for a target to count as measured."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """The information available for a prediction.

    `sources` is the history without the target's row. `group` is its tier, runtime, precision
    and compute unit. `row` has all its measurements (log latency, NaN if missing), of which
    `anchors` are used. `notes` are sentences for the user.
    """

    target: Target
    group: Words
    sources: ResultMatrix
    row: Floats
    anchors: Anchors
    memory_anchors: Anchors
    notes: tuple[str, ...]


def history_of(frame: pd.DataFrame) -> tuple[ResultMatrix, tuple[str, ...]]:
    """Return the history contained in a tidy frame, each benchmark once, and which rows are not used and why.

    Rows whose batch size or resolution is not the most common one are left out.

    Raises
    ------
    DataError
        If no usable benchmark remains.
    """
    rows, left_out = usable_rows(by_runner(frame), AnalysisOptions())
    dropped = [f"{item.rows} rows ({item.reason})" for item in left_out]
    rows = _one_stratum(rows, dropped)
    if rows.empty:
        raise DataError(f"no benchmark to predict from among {len(frame)} rows ({'; '.join(dropped) or 'none given'})")
    history = matrix_from_rows(rows)
    thin = np.isfinite(history.log_latency).sum(axis=1) < MIN_ROW_MODELS
    if thin.any() and not thin.all():
        dropped.append(f"{int(thin.sum())} configurations with fewer than {MIN_ROW_MODELS} models")
        history = history.select(~thin)
    return history, tuple(dropped)


def by_runner(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with each republished row assigned to the device, chip and generation that ran its job."""
    rows = tidy(frame)
    elsewhere = rows[MEASURED_ON.column] != ""
    rows.loc[elsewhere, DEVICE.column] = rows.loc[elsewhere, MEASURED_ON.column]
    here = rows[~elsewhere].drop_duplicates(DEVICE.column).set_index(DEVICE.column)
    ran_on = rows.loc[elsewhere, DEVICE.column]
    for column in (CHIP.column, GENERATION.column):
        values = here[column].reindex(ran_on).to_numpy(dtype=object)
        unknown = ran_on.to_numpy(dtype=object) if column == CHIP.column else ""
        rows.loc[elsewhere, column] = np.where(pd.isna(values), unknown, values)
    return rows


def _one_stratum(rows: pd.DataFrame, dropped: list[str]) -> pd.DataFrame:
    for column in (BATCH_SIZE.column, RESOLUTION.column):
        if rows.empty:
            return rows
        usual = rows[column].value_counts().index[0]
        other = rows[column] != usual
        if other.any():
            dropped.append(f"{int(other.sum())} rows ({column} other than {usual})")
        rows = rows[~other]
    return rows


def scene_of(
    frame: pd.DataFrame, target: Target, *, anchors: AnchorChoice = None, sources: Sequence[str] | None = None
) -> Scene:
    """Return the scene of a prediction.

    Raises
    ------
    DataError
        If no source is left, or a source or an anchor is unknown.
    """
    history, dropped = history_of(frame)
    notes = [target.note] if target.note else []
    notes += [f"Not used: {text}." for text in dropped]
    target = _completed(target, history, notes)
    history = history.with_accuracy_of(target.precision)
    group = np.array([getattr(target, column) for column in GROUP_COLUMNS], dtype=object)
    of_target = (history.devices == target.device) & (history.groups == group).all(axis=1)
    row, memory = _fullest(history, of_target)
    used = _sources(history.select(~of_target), sources, target)
    latency_anchors, memory_anchors = _anchors(used, row, memory, anchors)
    notes += _remarks(used, target, group, row, anchors)
    return Scene(
        target=target,
        group=group,
        sources=used,
        row=row,
        anchors=latency_anchors,
        memory_anchors=memory_anchors,
        notes=tuple(notes),
    )


def _completed(target: Target, history: ResultMatrix, notes: list[str]) -> Target:
    """Return the target with empty facts filled from its rows, or else from the most common configuration."""
    table = history.configurations
    on_device = (table[DEVICE.column] == target.device).to_numpy()
    chip = target.chip or (str(table[CHIP.column][on_device].iloc[0]) if on_device.any() else "")
    candidates = on_device if on_device.any() else np.ones(len(table), dtype=np.bool_)
    filled = []
    values = {}
    for column in GROUP_COLUMNS:
        given = str(getattr(target, column))
        if not given:
            given = _commonest(history, candidates, column)
            filled.append(f"{column} {given}")
        values[column] = given
        matching = candidates & (table[column] == given).to_numpy()
        candidates = matching if matching.any() else candidates
    if filled:
        origin = "from its own benchmarks" if on_device.any() else "the most common configuration in the history"
        notes.append(f"Assumed for {target.device}: {', '.join(filled)} ({origin}).")
    return replace(target, chip=chip, **values)


def _commonest(history: ResultMatrix, rows: Mask, column: str) -> str:
    counts = pd.Series(np.isfinite(history.log_latency).sum(axis=1)[rows])
    return str(counts.groupby(history.configurations[column].to_numpy()[rows]).sum().idxmax())


def _fullest(history: ResultMatrix, of_target: Mask) -> tuple[Floats, Floats]:
    """Return log latency and log memory of the target's configuration with the most models, NaN if it has none."""
    nothing = np.full(len(history.models), np.nan)
    if not of_target.any():
        return nothing, nothing
    rows = np.flatnonzero(of_target)
    best = rows[np.argmax(np.isfinite(history.log_latency[rows]).sum(axis=1))]
    return history.log_latency[best], history.log_memory[best]


def _sources(history: ResultMatrix, names: Sequence[str] | None, target: Target) -> ResultMatrix:
    if names is not None:
        unknown = sorted(set(names) - set(history.devices))
        if unknown:
            devices = ", ".join(sorted(set(map(str, history.devices))))
            raise DataError(f"no benchmark on the source {', '.join(unknown)}; there are benchmarks on {devices}")
        history = history.select(np.isin(history.devices.astype(str), list(names)))
    if history.n_configurations == 0:
        raise DataError(
            f"nothing to predict {target.device} from: the history has no other configuration. "
            "Benchmark the models on another device, or import published results (frm-mlflow ingest)"
        )
    return history


def _anchors(history: ResultMatrix, row: Floats, memory: Floats, choice: AnchorChoice) -> tuple[Anchors, Anchors]:
    everything = np.flatnonzero(np.isfinite(row))
    if choice is None:
        return Anchors.of_row(row, everything), Anchors.of_row(memory, everything)
    positions = history.positions(list(choice))
    if isinstance(choice, Mapping):
        return _by_hand(positions, choice), Anchors.none()
    lacking = [name for name, place in zip(choice, positions, strict=True) if not np.isfinite(row[place])]
    if lacking:
        raise DataError(
            f"anchors that were not measured on the target: {', '.join(lacking)}; run frm-mlflow bench first"
        )
    return Anchors.of_row(row, positions), Anchors.of_row(memory, positions)


def _by_hand(positions: Integers, choice: Mapping[str, float]) -> Anchors:
    wrong = [name for name, value in choice.items() if not 0 < value < np.inf]
    if wrong:
        raise DataError(f"anchors must be latencies in ms above 0; they are not for {', '.join(wrong)}")
    return Anchors(positions=positions, log_values=np.log(np.array([float(v) for v in choice.values()])))


def _remarks(sources: ResultMatrix, target: Target, group: Words, row: Floats, choice: AnchorChoice) -> list[str]:
    notes = []
    measured = int(np.isfinite(row).sum())
    if choice is None and measured >= _WHOLE * len(sources.models):
        notes.append(
            f"{target.device} is in the history with {measured} of {len(sources.models)} models, and its measured "
            "values are used as they are. To see how well they could be predicted, run "
            "frm-mlflow predict evaluate=true."
        )
    chips = len(set(sources.chips))
    if chips == 1:
        notes.append(
            "There is only one source chip, which does not show how devices differ: intervals rest on assumptions."
        )
    missing = [
        f"{column} {value}"
        for column, value in zip(GROUP_COLUMNS, group, strict=True)
        if value not in set(sources.configurations[column])
    ]
    if missing:
        notes.append(f"No source has {', '.join(missing)}: validate on the target before you rely on this.")
    unrated = int(np.isnan(sources.facts.top1).sum())
    if unrated:
        notes.append(f"{unrated} of {len(sources.models)} models have no accuracy, so they cannot be on a frontier.")
    return notes
