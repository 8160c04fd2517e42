"""The history that a prediction is based on: all data about every model on every configuration.

Log latency and log memory are dense matrices, configurations by models; a cell that was not
measured is NaN and stays NaN. A published job that appears under several device names belongs to
the device that ran it, so that a device is never predicted from a copy of its own measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.analysis.facts import is_quantised
from frm_mlflow.analysis.labels import configuration_labels
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import KEY_COLUMNS, usable_rows
from frm_mlflow.errors import DataError
from frm_mlflow.frame import tidy
from frm_mlflow.schema import (
    ACTIVATIONS_M,
    BATCH_SIZE,
    CHIP,
    COMPUTE_UNIT,
    DEVICE,
    FAMILY,
    GENERATION,
    GMACS,
    LATENCY_P50,
    MEASURED_ON,
    MEMORY_PEAK,
    MODEL,
    PARAMS_M,
    PRECISION,
    RESOLUTION,
    RUNTIME,
    TIER,
    TOP1,
    Metric,
)

GROUP_COLUMNS: tuple[str, ...] = (TIER.column, RUNTIME.column, PRECISION.column, COMPUTE_UNIT.column)
"""Configurations that share these columns rank models most similarly; the more they share, the more similar."""
MIN_ROW_MODELS = 3
"""A configuration with fewer models carries no information on how models compare."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """C configurations by M models: natural logarithms of latency in ms and peak memory in MiB.

    `configurations` has the columns of a configuration with `tier`, `generation` and `label`.
    `groups` are its `GROUP_COLUMNS` (C, 4), `chips` the chip or, if it is unknown, the device.
    `gmacs`, `params_m`, `activations_m` and `top1` have one number per model, NaN if unknown.
    `dropped` lists which rows of the frame were not used, and why.
    """

    models: tuple[str, ...]
    families: Words
    configurations: pd.DataFrame
    groups: Words
    chips: Words
    log_latency: Floats
    log_memory: Floats
    top1_cells: Floats
    gmacs: Floats
    params_m: Floats
    activations_m: Floats
    top1: Floats
    dropped: tuple[str, ...] = ()

    @property
    def devices(self) -> Words:
        """Device of each configuration."""
        return self.configurations[DEVICE.column].to_numpy(dtype=object)

    @property
    def n_configurations(self) -> int:
        """Number of configurations."""
        return len(self.log_latency)

    def select(self, rows: Integers | Mask) -> History:
        """Return the history with only the given configurations; all models are kept."""
        kept = np.arange(self.n_configurations)[rows]
        return replace(
            self,
            configurations=self.configurations.iloc[kept].reset_index(drop=True),
            **{name: getattr(self, name)[kept] for name in _BY_CONFIGURATION},
        )

    def only_models(self, columns: Integers | Mask) -> History:
        """Return the history with only the given models."""
        kept = np.arange(len(self.models))[columns]
        parts = {name: getattr(self, name)[kept] for name in ("families", *_FACTS)}
        return replace(
            self,
            models=tuple(self.models[index] for index in kept),
            **{name: getattr(self, name)[:, kept] for name in _CELLS},
            **parts,
        )

    def with_accuracy_of(self, precision: str) -> History:
        """Return the history with `top1` set to the median of a model's cells of this precision, if it has any."""
        same = (self.configurations[PRECISION.column] == precision).to_numpy()
        own = _column_medians(self.top1_cells[same])
        return replace(self, top1=np.where(np.isfinite(own), own, self.top1))

    def positions(self, models: Sequence[str]) -> Integers:
        """Return the columns of `models`.

        Raises
        ------
        DataError
            If one is not in the history; the message lists the most similar names.
        """
        where = {name: index for index, name in enumerate(self.models)}
        unknown = [name for name in models if name not in where]
        if unknown:
            raise DataError(
                f"models that the history does not hold: {', '.join(unknown)}; "
                f"it holds {', '.join(self.models[:8])} and others"
            )
        return np.array([where[name] for name in models], dtype=np.intp)


_FACTS = ("gmacs", "params_m", "activations_m", "top1")
_CELLS = ("log_latency", "log_memory", "top1_cells")
_BY_CONFIGURATION = ("groups", "chips", *_CELLS)


def history_of(frame: pd.DataFrame) -> History:
    """Return the history contained in a tidy frame, each benchmark once.

    Rows whose batch size or resolution is not the most common one are left out.

    Raises
    ------
    DataError
        If no usable benchmark remains.
    """
    rows, left_out = usable_rows(by_runner(frame), AnalysisOptions())
    dropped = [f"{item.rows} rows: {item.reason}" for item in left_out]
    rows = _one_stratum(rows, dropped)
    if rows.empty:
        raise DataError(f"no benchmark to predict from among {len(frame)} rows ({'; '.join(dropped) or 'none given'})")
    history = _from_rows(rows)
    thin = np.isfinite(history.log_latency).sum(axis=1) < MIN_ROW_MODELS
    if thin.any() and not thin.all():
        dropped.append(f"{int(thin.sum())} configurations with fewer than {MIN_ROW_MODELS} models")
        history = history.select(~thin)
    return replace(history, dropped=tuple(dropped))


def by_runner(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with each republished row assigned to the device, chip and generation that ran its job."""
    rows = tidy(frame)
    elsewhere = rows[MEASURED_ON.column] != ""
    rows.loc[elsewhere, DEVICE.column] = rows.loc[elsewhere, MEASURED_ON.column]
    own = rows[~elsewhere].drop_duplicates(DEVICE.column).set_index(DEVICE.column)
    ran_on = rows.loc[elsewhere, DEVICE.column]
    for column in (CHIP.column, GENERATION.column):
        known = own[column].reindex(ran_on).to_numpy(dtype=object)
        unknown = ran_on.to_numpy(dtype=object) if column == CHIP.column else ""
        rows.loc[elsewhere, column] = np.where(pd.isna(known), unknown, known)
    return rows


def _one_stratum(rows: pd.DataFrame, dropped: list[str]) -> pd.DataFrame:
    for column in (BATCH_SIZE.column, RESOLUTION.column):
        if rows.empty:
            return rows
        usual = rows[column].value_counts().index[0]
        other = rows[column] != usual
        if other.any():
            dropped.append(f"{int(other.sum())} rows: {column} other than {usual}")
        rows = rows[~other]
    return rows


def _from_rows(rows: pd.DataFrame) -> History:
    groups = rows.groupby(list(KEY_COLUMNS), sort=True)
    row = groups.ngroup().to_numpy()
    models, column = np.unique(rows[MODEL.column].to_numpy(dtype=str), return_inverse=True)
    first = np.unique(row, return_index=True)[1]
    table = rows.iloc[first][[*KEY_COLUMNS, TIER.column, GENERATION.column]].reset_index(drop=True)
    chip = table[CHIP.column].to_numpy(dtype=object)

    def cells(key: Metric) -> Floats:
        found = np.full((groups.ngroups, len(models)), np.nan)
        found[row, column] = rows[key.column].to_numpy(dtype=np.float64)
        return np.where(np.isfinite(found), found, np.nan)

    def fact(key: Metric) -> Floats:
        return _column_medians(cells(key))

    return History(
        models=tuple(str(name) for name in models),
        families=_families(rows, models),
        configurations=table.assign(label=configuration_labels(table[list(KEY_COLUMNS)])),
        groups=table[list(GROUP_COLUMNS)].to_numpy(dtype=object),
        chips=np.where(chip == "", table[DEVICE.column].to_numpy(dtype=object), chip),
        log_latency=_logarithm(cells(LATENCY_P50)),
        log_memory=_logarithm(cells(MEMORY_PEAK)),
        top1_cells=cells(TOP1),
        gmacs=fact(GMACS),
        params_m=fact(PARAMS_M),
        activations_m=fact(ACTIVATIONS_M),
        top1=_float_accuracy(cells(TOP1), is_quantised(table[PRECISION.column]).to_numpy(dtype=bool)),
    )


def _float_accuracy(top1: Floats, quantised: Mask) -> Floats:
    """Return each model's accuracy in floating point, or in any other precision if that is all there is."""
    in_float = _column_medians(np.where(quantised[:, None], np.nan, top1))
    return np.where(np.isfinite(in_float), in_float, _column_medians(top1))


def _logarithm(values: Floats) -> Floats:
    logs = np.full(values.shape, np.nan)
    np.log(values, out=logs, where=values > 0)
    return logs


def _column_medians(cells: Floats) -> Floats:
    """Return the median of each column's known cells, NaN if there are none."""
    medians = np.full(cells.shape[1], np.nan)
    known = np.isfinite(cells).any(axis=0)
    medians[known] = np.nanmedian(cells[:, known], axis=0)
    return medians


def _families(rows: pd.DataFrame, models: Words) -> Words:
    known = rows[rows[FAMILY.column] != ""]
    commonest = known.groupby(MODEL.column)[FAMILY.column].agg(lambda words: words.value_counts().index[0])
    return np.asarray(commonest.reindex(models).fillna("other"), dtype=object)
