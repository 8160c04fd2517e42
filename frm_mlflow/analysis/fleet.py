"""The fleet: every analysis works on these dense matrices, configurations by models.

Built once from the tidy frame. A cell that was not measured is NaN. All arrays have the shape
(C, M); nothing here is changed after it was built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.analysis.dedupe import near_duplicates
from frm_mlflow.analysis.frm import FRM_COMPONENTS, frm_of, positive, ratio
from frm_mlflow.analysis.labels import configuration_labels
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import KEY_COLUMNS, LeftOut, missing_metrics, usable_rows
from frm_mlflow.errors import DataError
from frm_mlflow.schema import (
    ACTIVATIONS_M,
    BASELINE,
    BATCH_SIZE,
    CHIP,
    DEVICE,
    ENERGY,
    FAMILY,
    GMACS,
    LATENCY_P50,
    MEMORY_PEAK,
    MODEL,
    PARAMS_M,
    RATIO_ENERGY,
    RATIO_FLOPS,
    RATIO_INTERLEAVED,
    RATIO_LATENCY,
    RATIO_MEMORY,
    RATIO_SOURCE,
    RESOLUTION,
    SOURCE,
    SOURCE_MEASURED,
    TIER,
    TOP1,
    Metric,
)

_RATIOS = {"flops": RATIO_FLOPS, "latency": RATIO_LATENCY, "memory": RATIO_MEMORY, "energy": RATIO_ENERGY}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet:
    """Benchmarks as matrices: C configurations by M models.

    `configurations` has one row a configuration: its columns, `tier`, `source` and a short `label`.
    `recorded_ratios` are the runs' own, taken in one window with the baseline; NaN elsewhere.
    `run_ids` names the MLflow run of each cell, "" where there is none.
    `seconds` is how long a benchmark measured here took, NaN for imported ones.
    """

    models: tuple[str, ...]
    families: tuple[str, ...]
    configurations: pd.DataFrame
    baseline: str
    latency_ms: Floats
    memory_mib: Floats
    energy_mj: Floats
    gmacs: Floats
    params_m: Floats
    activations_m: Floats
    top1: Floats
    seconds: Floats
    run_ids: Words
    recorded_ratios: Mapping[str, Floats]

    @property
    def measured(self) -> Mask:
        """Which model was measured on which configuration."""
        return np.isfinite(self.latency_ms)

    @property
    def tiers(self) -> Words:
        """Tier of each configuration."""
        return self.configurations[TIER.column].to_numpy(dtype=object)

    @property
    def devices(self) -> Words:
        """Device of each configuration."""
        return self.configurations[DEVICE.column].to_numpy(dtype=object)

    @property
    def chips(self) -> Words:
        """Chip of each configuration, the device's name where the chip is unknown."""
        chip = self.configurations[CHIP.column].to_numpy(dtype=object)
        return np.where(chip == "", self.devices, chip)

    @property
    def labels(self) -> tuple[str, ...]:
        """Short name of each configuration."""
        return tuple(self.configurations["label"])

    def ratios(self, baseline: str | None = None) -> dict[str, Floats]:
        """Return each component over the baseline's on the same configuration (paper eq. 2-4).

        A run's own interleaved ratio is taken where it was measured against this baseline, the
        quotient of the two runs elsewhere; NaN where the baseline was not measured.
        """
        name = baseline or self.baseline
        costs = {"flops": self.gmacs, "latency": self.latency_ms, "memory": self.memory_mib, "energy": self.energy_mj}
        quotients = {part: ratio(cost, self._column(cost, name)) for part, cost in costs.items()}
        if name != self.baseline:
            return quotients
        own = self.recorded_ratios
        return {part: np.where(np.isfinite(own[part]), own[part], quotients[part]) for part in quotients}

    def frm(self, baseline: str | None = None, components: Sequence[str] = FRM_COMPONENTS) -> Floats:
        """Return FRM of every cell (paper eq. 1); NaN where a component is missing."""
        return frm_of(self.ratios(baseline), components=components)

    def select(self, rows: Integers | Mask) -> Fleet:
        """Return the fleet of some configurations, by mask or positions; models are kept."""
        names = (
            "latency_ms",
            "memory_mib",
            "energy_mj",
            "gmacs",
            "params_m",
            "activations_m",
            "top1",
            "seconds",
            "run_ids",
        )
        parts = {name: getattr(self, name)[rows] for name in names}
        ratios = {name: values[rows] for name, values in self.recorded_ratios.items()}
        table = self.configurations.iloc[np.arange(len(self.configurations))[rows]].reset_index(drop=True)
        return replace(self, configurations=table, recorded_ratios=ratios, **parts)

    def _column(self, values: Floats, model: str) -> Floats:
        if model not in self.models:
            return np.full((len(values), 1), np.nan)
        return values[:, [self.models.index(model)]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """What a frame holds: all configurations, those that compare with each other, and what was left out."""

    fleet: Fleet
    comparable: Fleet
    rows: pd.DataFrame
    left_out: pd.DataFrame
    missing: pd.DataFrame


def select_fleet(frame: pd.DataFrame, options: AnalysisOptions) -> Selection:
    """Build the fleet from a tidy frame and say what was left out.

    Raises
    ------
    DataError
        Where no row is left; the message says which rule removed how many.
    """
    rows, left_out = usable_rows(frame, options)
    if rows.empty:
        reasons = "; ".join(f"{item.reason}: {item.rows}" for item in left_out) or "the query returned none"
        raise DataError(f"no benchmark to analyse among {len(frame)} rows ({reasons})")
    fleet = fleet_from_rows(rows, baseline=options.baseline)
    fleet = _without_baseless(fleet, left_out)
    if not options.count_duplicates:
        fleet = _without_near_duplicates(fleet, options, left_out)
    comparable = _one_stratum(fleet, options, left_out)
    columns = ["reason", "rows", "detail"]
    table = pd.DataFrame([[getattr(item, name) for name in columns] for item in left_out], columns=columns)
    return Selection(fleet=fleet, comparable=comparable, rows=rows, left_out=table, missing=missing_metrics(rows))


def fleet_from_rows(rows: pd.DataFrame, *, baseline: str) -> Fleet:
    """Return the fleet of rows that are already unique in configuration and model."""
    groups = rows.groupby(list(KEY_COLUMNS), sort=True)
    row = groups.ngroup().to_numpy()
    models, column = np.unique(rows[MODEL.column].to_numpy(dtype=str), return_inverse=True)
    shape = (groups.ngroups, len(models))

    def matrix(values: Floats) -> Floats:
        cells = np.full(shape, np.nan)
        cells[row, column] = values
        return cells

    def metric(key: Metric) -> Floats:
        return matrix(rows[key.column].to_numpy())

    run_ids = np.full(shape, "", dtype=object)
    run_ids[row, column] = rows["run_id"]
    own = (rows[RATIO_SOURCE.column] == RATIO_INTERLEAVED) & (rows[BASELINE.column] == baseline)
    return Fleet(
        models=tuple(str(name) for name in models),
        families=_families(rows, column, len(models)),
        configurations=_configurations(rows, row),
        baseline=baseline,
        latency_ms=positive(metric(LATENCY_P50)),
        memory_mib=positive(metric(MEMORY_PEAK)),
        energy_mj=positive(metric(ENERGY)),
        gmacs=positive(metric(GMACS)),
        params_m=positive(metric(PARAMS_M)),
        activations_m=positive(metric(ACTIVATIONS_M)),
        top1=_finite(metric(TOP1)),
        seconds=matrix(_durations_s(rows)),
        run_ids=run_ids,
        recorded_ratios={part: matrix(positive(rows[key.column].where(own))) for part, key in _RATIOS.items()},
    )


def _configurations(rows: pd.DataFrame, row: Integers) -> pd.DataFrame:
    first = np.unique(row, return_index=True)[1]
    table = rows.iloc[first][[*KEY_COLUMNS, TIER.column, SOURCE.column]].reset_index(drop=True)
    return table.assign(label=configuration_labels(table[list(KEY_COLUMNS)])).astype(object)


def _families(rows: pd.DataFrame, column: Integers, n_models: int) -> tuple[str, ...]:
    """Return each model's commonest family."""
    counts = pd.DataFrame({"model": column, "family": rows[FAMILY.column].to_numpy()}).value_counts()
    best = counts.reset_index().drop_duplicates("model").set_index("model")["family"]
    return tuple(str(best.loc[index]) or "other" for index in range(n_models))


def _durations_s(rows: pd.DataFrame) -> Floats:
    seconds = (rows["end_time"] - rows["start_time"]).dt.total_seconds()
    return np.asarray(seconds.where(rows[SOURCE.column] == SOURCE_MEASURED), dtype=np.float64)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _without_baseless(fleet: Fleet, left_out: list[LeftOut]) -> Fleet:
    related = np.isfinite(fleet.ratios()["latency"]).sum(axis=1)
    return _without(fleet, related == 0, f"no baseline {fleet.baseline}", left_out)


def _without_near_duplicates(fleet: Fleet, options: AnalysisOptions, left_out: list[LeftOut]) -> Fleet:
    twins = near_duplicates(fleet.configurations, fleet.latency_ms, min_models=options.min_models)
    return _without(fleet, twins, "near-duplicate device: same chip, same ranks, median difference under 1 %", left_out)


def _one_stratum(fleet: Fleet, options: AnalysisOptions, left_out: list[LeftOut]) -> Fleet:
    """Return the configurations of one batch size and resolution; the others are not compared with them."""
    for column, wanted in ((BATCH_SIZE.column, options.batch_size), (RESOLUTION.column, options.resolution)):
        values = fleet.configurations[column].to_numpy(dtype=object)
        weight = pd.Series(fleet.measured.sum(axis=1)).groupby(values).sum()
        kept = str(wanted) if wanted is not None else str(weight.idxmax())
        if kept not in weight.index:
            raise DataError(f"no benchmark with {column} {kept}; there are {', '.join(map(str, weight.index))}")
        reason = f"{column} is not {kept}: seen by frm, disagreement, sensitivity and cost only"
        fleet = _without(fleet, values != kept, reason, left_out)
    return fleet


def _without(fleet: Fleet, lost: Mask, reason: str, left_out: list[LeftOut]) -> Fleet:
    if not lost.any():
        return fleet
    names = [label for label, gone in zip(fleet.labels, lost, strict=True) if gone]
    left_out.append(LeftOut(reason=reason, rows=int(fleet.measured[lost].sum()), detail="; ".join(names)))
    if lost.all():
        raise DataError(f"no configuration is left to analyse ({reason}): {'; '.join(names[:5])}")
    return fleet.select(~lost)
