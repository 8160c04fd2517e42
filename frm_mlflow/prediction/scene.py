"""From a tidy frame and a target's name to the inputs of a predictor: sources, group and anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.anchors import Anchors
from frm_mlflow.prediction.history import GROUP_COLUMNS, History, history_of
from frm_mlflow.prediction.options import Target
from frm_mlflow.schema import CHIP, DEVICE

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
    sources: History
    row: Floats
    anchors: Anchors
    memory_anchors: Anchors
    notes: tuple[str, ...]


def scene_of(
    frame: pd.DataFrame, target: Target, *, anchors: AnchorChoice = None, sources: Sequence[str] | None = None
) -> Scene:
    """Return the scene of a prediction.

    Raises
    ------
    DataError
        If no source is left, or a source or an anchor is unknown.
    """
    history = history_of(frame)
    notes = [target.note] if target.note else []
    notes += [f"Not used: {text}." for text in history.dropped]
    target = _completed(target, history, notes)
    history = history.with_accuracy_of(target.precision)
    group = np.array([getattr(target, column) for column in GROUP_COLUMNS], dtype=object)
    own = _own_rows(history, target, group)
    row, memory = _fullest(history, own)
    used = _sources(history.select(~own), sources, target)
    chosen, chosen_memory = _anchors(used, row, memory, anchors)
    notes += _remarks(used, target, group, row, anchors)
    return Scene(
        target=target,
        group=group,
        sources=used,
        row=row,
        anchors=chosen,
        memory_anchors=chosen_memory,
        notes=tuple(notes),
    )


def _completed(target: Target, history: History, notes: list[str]) -> Target:
    """Return the target with empty facts filled from its rows, or else from the most common configuration."""
    table = history.configurations
    own = (table[DEVICE.column] == target.device).to_numpy()
    chip = target.chip or (str(table[CHIP.column][own].iloc[0]) if own.any() else "")
    candidates = own if own.any() else np.ones(len(table), dtype=np.bool_)
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
        where = "its own benchmarks" if own.any() else "the history's commonest configuration, for lack of its own"
        notes.append(f"Assumed for {target.device}: {', '.join(filled)} (from {where}).")
    return replace(target, chip=chip, **values)


def _commonest(history: History, rows: Mask, column: str) -> str:
    counts = pd.Series(np.isfinite(history.log_latency).sum(axis=1)[rows])
    return str(counts.groupby(history.configurations[column].to_numpy()[rows]).sum().idxmax())


def _own_rows(history: History, target: Target, group: Words) -> Mask:
    on_device = history.devices == target.device
    own: Mask = on_device & (history.groups == group).all(axis=1)
    return own


def _fullest(history: History, own: Mask) -> tuple[Floats, Floats]:
    nothing = np.full(len(history.models), np.nan)
    if not own.any():
        return nothing, nothing
    rows = np.flatnonzero(own)
    best = rows[np.argmax(np.isfinite(history.log_latency[rows]).sum(axis=1))]
    return history.log_latency[best], history.log_memory[best]


def _sources(history: History, names: Sequence[str] | None, target: Target) -> History:
    if names is not None:
        unknown = sorted(set(names) - set(history.devices))
        if unknown:
            known = ", ".join(sorted(set(map(str, history.devices))))
            raise DataError(f"sources that the history does not hold: {', '.join(unknown)}; it holds {known}")
        history = history.select(np.isin(history.devices.astype(str), list(names)))
    if history.n_configurations == 0:
        raise DataError(
            f"nothing to transfer to {target.device} from: the history holds no other configuration. "
            "Benchmark the models on another device, or import published results (frm-mlflow ingest)"
        )
    return history


def _anchors(history: History, row: Floats, memory: Floats, choice: AnchorChoice) -> tuple[Anchors, Anchors]:
    everything = np.flatnonzero(np.isfinite(row))
    if choice is None:
        return Anchors.of_row(row, everything), Anchors.of_row(memory, everything)
    positions = history.positions(list(choice))
    if isinstance(choice, Mapping):
        return _by_hand(positions, choice), Anchors.none()
    lacking = [name for name, where in zip(choice, positions, strict=True) if not np.isfinite(row[where])]
    if lacking:
        raise DataError(
            f"anchors that were not measured on the target: {', '.join(lacking)}; run frm-mlflow bench first"
        )
    return Anchors.of_row(row, positions), Anchors.of_row(memory, positions)


def _by_hand(positions: Integers, choice: Mapping[str, float]) -> Anchors:
    wrong = [name for name, value in choice.items() if not 0 < value < np.inf]
    if wrong:
        raise DataError(f"anchors must be latencies in ms above 0, got another for {', '.join(wrong)}")
    return Anchors(positions=positions, log_values=np.log(np.array([float(v) for v in choice.values()])))


def _remarks(sources: History, target: Target, group: Words, row: Floats, choice: AnchorChoice) -> list[str]:
    notes = []
    measured = int(np.isfinite(row).sum())
    if choice is None and measured >= _WHOLE * len(sources.models):
        notes.append(
            f"{target.device} is in the history with {measured} of {len(sources.models)} models: its measured values "
            "are used as they are. To see how well it would have been predicted, run frm-mlflow predict evaluate=true."
        )
    chips = len(set(sources.chips))
    if chips == 1:
        notes.append("One source chip only: nothing shows how devices differ, so intervals rest on assumptions.")
    missing = [
        f"{column} {wanted}"
        for column, wanted in zip(GROUP_COLUMNS, group, strict=True)
        if wanted not in set(sources.configurations[column])
    ]
    if missing:
        notes.append(f"No source has {', '.join(missing)}: validate on the target before you rely on this.")
    unrated = int(np.isnan(sources.top1).sum())
    if unrated:
        notes.append(f"{unrated} of {len(sources.models)} models have no accuracy: predicted, but on no frontier.")
    return notes
