"""The result matrix: benchmarks as dense arrays, configurations by models, for analyses and predictions alike.

It is built once from the tidy frame. A cell that was not measured is NaN. Nothing is changed after construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum
from typing import Any

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words, column_medians
from frm_mlflow.analysis.facts import is_quantised
from frm_mlflow.analysis.frm import FRM_COMPONENTS, frm_of, positive, ratio
from frm_mlflow.analysis.rows import KEY_COLUMNS, configuration_labels, level_order
from frm_mlflow.errors import DataError
from frm_mlflow.near import did_you_mean
from frm_mlflow.schema import (
    ACTIVATIONS_M,
    BASELINE,
    CHIP,
    COMPUTE_UNIT,
    DEVICE,
    ENERGY,
    FAMILY,
    GENERATION,
    GMACS,
    LATENCY_P50,
    MEMORY_PEAK,
    MODEL,
    PARAMS_M,
    PRECISION,
    RATIO_ENERGY,
    RATIO_FLOPS,
    RATIO_INTERLEAVED,
    RATIO_LATENCY,
    RATIO_MEMORY,
    RATIO_SOURCE,
    RUNTIME,
    SOURCE,
    SOURCE_MEASURED,
    SUSTAINED_DROP,
    TIER,
    TIERS,
    TOP1,
    TOP1_HIGH,
    TOP1_LOW,
    Metric,
)

SIDE, UNIT = "side", "unit"
"""Columns of `ResultMatrix.configurations` that hold `sides` and `units`."""

_RATIOS = {"flops": RATIO_FLOPS, "latency": RATIO_LATENCY, "memory": RATIO_MEMORY, "energy": RATIO_ENERGY}


GROUP_COLUMNS: tuple[str, ...] = (TIER.column, RUNTIME.column, PRECISION.column, COMPUTE_UNIT.column)
"""Configurations that share these columns rank models most similarly; the more they share, the more similar."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFacts:
    """Facts about M models that do not depend on the device, (M,) each; NaN if unknown.

    They are medians over all configurations of a frame, and stay the same when configurations are selected.
    `top1` is the accuracy in floating point, or in any other precision for a model without one.
    """

    gmacs: Floats
    params_m: Floats
    activations_m: Floats
    top1: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class ResultMatrix:
    """Benchmarks as arrays of the shape (C, M): C configurations by M models, NaN if not measured.

    `configurations` has one row per configuration: `KEY_COLUMNS`, `tier`, `generation`, `source`, a short `label`,
    `side` and `unit`.
    `facts` are the models' facts; `gmacs`, `params_m`, `activations_m` and `top1` are the values recorded by each run.
    `recorded_ratios` are recorded by the runs, interleaved with the baseline; NaN if a run has none.
    `run_ids` has the MLflow run of each cell, "" if there is none.
    `top1_half_width` is half the width of a measured accuracy's interval, in points.
    `components` are the components of FRM; a fourth one, energy, makes it FRM_E.
    `seconds` is the duration of a benchmark measured here, NaN for imported ones. `sustained_drop` is the relative
    slowdown at the end of a sustained run, NaN without one.
    """

    models: tuple[str, ...]
    families: Words
    facts: ModelFacts
    configurations: pd.DataFrame
    baseline: str
    latency_ms: Floats
    memory_mib: Floats
    energy_mj: Floats
    gmacs: Floats
    params_m: Floats
    activations_m: Floats
    top1: Floats
    top1_half_width: Floats
    seconds: Floats
    sustained_drop: Floats
    run_ids: Words
    recorded_ratios: Mapping[str, Floats]
    components: tuple[str, ...] = FRM_COMPONENTS

    @property
    def n_configurations(self) -> int:
        """Number of configurations."""
        return len(self.latency_ms)

    @cached_property
    def log_latency(self) -> Floats:
        """Natural logarithm of latency in ms."""
        return np.log(self.latency_ms)

    @cached_property
    def log_memory(self) -> Floats:
        """Natural logarithm of peak memory in MiB."""
        return np.log(self.memory_mib)

    @cached_property
    def groups(self) -> Words:
        """Tier, runtime, precision and compute unit of each configuration, (C, 4)."""
        return self.configurations[list(GROUP_COLUMNS)].to_numpy(dtype=object)

    @property
    def measured(self) -> Mask:
        """Mask of the models measured on each configuration."""
        return np.isfinite(self.latency_ms)

    @property
    def tiers(self) -> Words:
        """Tier of each configuration."""
        return self.configurations[TIER.column].to_numpy(dtype=object)

    @property
    def devices(self) -> Words:
        """Device of each configuration."""
        return self.configurations[DEVICE.column].to_numpy(dtype=object)

    @cached_property
    def chips(self) -> Words:
        """Chip of each configuration, or the device's name if the chip is unknown."""
        return _chips(self.configurations)

    @property
    def sides(self) -> Words:
        """Groups between which results are transferred: each configuration's tier, or its substitute (`sides.py`)."""
        return self.configurations[SIDE].to_numpy(dtype=object)

    @property
    def side_names(self) -> list[str]:
        """Distinct sides: tiers in the paper's order (gpu, cpu, edge), precisions from wide to narrow."""
        return sorted(set(self.sides), key=_side_order)

    @property
    def clusters(self) -> Words:
        """Chip of each configuration as a number (in text form), derived from its measurements and not from its name.

        Bootstraps resample these, so renaming a device or chip does not change an interval.
        """
        chips = self.chips
        sizes = {chip: _fingerprint(self.latency_ms[chips == chip]) for chip in sorted(set(chips))}
        place = {chip: f"{index:06d}" for index, chip in enumerate(sorted(sizes, key=lambda chip: sizes[chip]))}
        return np.array([place[chip] for chip in chips], dtype=object)

    def draw_order(self) -> tuple[Integers, Integers]:
        """Return an order of configurations and of models that depends on the measurements and not on names."""
        rows, columns = (
            sorted(range(len(values)), key=[_fingerprint(part) for part in values].__getitem__)
            for values in (self.latency_ms, self.latency_ms.T)
        )
        return np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp)

    @property
    def units(self) -> Words:
        """The chip of each configuration, or its substitute (`sides.py`); compared pairs must differ in it."""
        return self.configurations[UNIT].to_numpy(dtype=object)

    @property
    def labels(self) -> tuple[str, ...]:
        """Short name of each configuration."""
        return tuple(self.configurations["label"])

    @property
    def costs(self) -> dict[str, Floats]:
        """The components of FRM and FRM_E: GMACs, latency in ms, memory in MiB, energy in mJ."""
        return {"flops": self.gmacs, "latency": self.latency_ms, "memory": self.memory_mib, "energy": self.energy_mj}

    def ratios(self, baseline: str | None = None) -> dict[str, Floats]:
        """Return each component divided by the baseline's on the same configuration (paper eq. 2-4).

        A run's interleaved ratio is used if it was measured against this baseline, otherwise the
        quotient of the two runs. NaN if the baseline was not measured.
        """
        name = baseline or self.baseline
        quotients = {part: ratio(cost, self._column(cost, name)) for part, cost in self.costs.items()}
        if name != self.baseline:
            return quotients
        recorded = dict(self.recorded_ratios)
        recorded["flops"] = np.where(np.isfinite(quotients["flops"]), np.nan, recorded["flops"])
        return {part: np.where(np.isfinite(recorded[part]), recorded[part], quotients[part]) for part in quotients}

    def frm(self, baseline: str | None = None, components: Sequence[str] | None = None) -> Floats:
        """Return FRM of every cell (paper eq. 1) over the matrix's components; NaN if one is missing."""
        return frm_of(self.ratios(baseline), components=components or self.components)

    @property
    def has_baseline(self) -> Mask:
        """Mask of the configurations that have a latency ratio, and so can have an FRM."""
        related: Mask = np.asarray(np.isfinite(self.ratios()["latency"]).any(axis=1))
        return related

    def rankable_ratios(self) -> dict[str, Floats]:
        """Return costs that order the models of each configuration as FRM does, with or without the baseline.

        They are the ratios of `ratios` or, on a configuration without the baseline, the costs themselves: the
        baseline divides all models there by one constant, which does not change any rank or frontier.
        """
        related = self.has_baseline[:, None]
        return {part: np.where(related, ratio, self.costs[part]) for part, ratio in self.ratios().items()}

    def frm_order(self) -> Floats:
        """Return FRM if the baseline was measured, otherwise FRM up to a constant factor per configuration."""
        return frm_of(self.rankable_ratios(), components=self.components)

    def select(self, rows: Integers | Mask) -> ResultMatrix:
        """Return the matrix with the given configurations, by mask or positions; all models are kept."""
        parts = {name: getattr(self, name)[rows] for name in _CELLS}
        ratios = {name: values[rows] for name, values in self.recorded_ratios.items()}
        table = self.configurations.iloc[np.arange(len(self.configurations))[rows]].reset_index(drop=True)
        return replace(self, configurations=table, recorded_ratios=ratios, **parts)

    def without_unmeasured_models(self) -> ResultMatrix:
        """Return the matrix without models that were not measured on any of its configurations."""
        measured: Mask = np.asarray(self.measured.any(axis=0))
        return self.only_models(measured)

    def only_models(self, kept: Mask) -> ResultMatrix:
        """Return the matrix with only the given models."""
        parts: dict[str, Any] = {name: getattr(self, name)[:, kept] for name in _CELLS}
        return replace(
            self,
            models=tuple(np.asarray(self.models, dtype=object)[kept]),
            families=self.families[kept],
            facts=ModelFacts(**{name: getattr(self.facts, name)[kept] for name in ModelFacts.__slots__}),
            recorded_ratios={name: values[:, kept] for name, values in self.recorded_ratios.items()},
            **parts,
        )

    def with_accuracy_of(self, precision: str) -> ResultMatrix:
        """Return the matrix whose `facts.top1` is the median of a model's cells of this precision, if it has any."""
        same = (self.configurations[PRECISION.column] == precision).to_numpy()
        medians = column_medians(self.top1[same])
        return replace(self, facts=replace(self.facts, top1=np.where(np.isfinite(medians), medians, self.facts.top1)))

    def positions(self, models: Sequence[str]) -> Integers:
        """Return the columns of `models`.

        Raises
        ------
        DataError
            If no benchmark of one of them was read; the message suggests similar names.
        """
        columns = {name: index for index, name in enumerate(self.models)}
        unknown = [name for name in models if name not in columns]
        if unknown:
            raise DataError(f"no benchmark of {', '.join(unknown)}.{did_you_mean(unknown[0], self.models)}")
        return np.array([columns[name] for name in models], dtype=np.intp)

    def under_load(self) -> ResultMatrix:
        """Return the matrix with the costs at the end of its sustained runs; cells without such a run are NaN."""
        slower = 1 + self.sustained_drop
        latency = self.recorded_ratios["latency"] * slower / self._column(slower, self.baseline)
        return replace(
            self, latency_ms=self.latency_ms * slower, recorded_ratios={**self.recorded_ratios, "latency": latency}
        )

    def _column(self, values: Floats, model: str) -> Floats:
        if model not in self.models:
            return np.full((len(values), 1), np.nan)
        return values[:, [self.models.index(model)]]


_CELLS = (
    "latency_ms",
    "memory_mib",
    "energy_mj",
    "gmacs",
    "params_m",
    "activations_m",
    "top1",
    "top1_half_width",
    "seconds",
    "sustained_drop",
    "run_ids",
)


def stacked(one: ResultMatrix, other: ResultMatrix) -> ResultMatrix:
    """Return the configurations of two matrices with the same models, one matrix after the other."""
    ratios = {part: np.vstack([cells, other.recorded_ratios[part]]) for part, cells in one.recorded_ratios.items()}
    table = pd.concat([one.configurations, other.configurations], ignore_index=True)
    parts: dict[str, Any] = {name: np.vstack([getattr(one, name), getattr(other, name)]) for name in _CELLS}
    return replace(one, configurations=table, recorded_ratios=ratios, **parts)


def matrix_from_rows(
    rows: pd.DataFrame, *, baseline: str = "", components: Sequence[str] = FRM_COMPONENTS
) -> ResultMatrix:
    """Return the matrix of rows that are already unique by configuration and model; "": no baseline, no ratio."""
    groups = rows.groupby(list(KEY_COLUMNS), sort=True)
    row = groups.ngroup().to_numpy()
    models, column = np.unique(rows[MODEL.column].to_numpy(dtype=str), return_inverse=True)
    shape = (groups.ngroups, len(models))

    def cells_of(values: Floats) -> Floats:
        cells = np.full(shape, np.nan)
        cells[row, column] = values
        return np.where(np.isfinite(cells), cells, np.nan)

    def metric(key: Metric) -> Floats:
        return cells_of(rows[key.column].to_numpy(dtype=np.float64))

    run_ids = np.full(shape, "", dtype=object)
    run_ids[row, column] = rows["run_id"]
    configurations = _configurations(rows, row)
    gmacs, params_m, activations_m = (positive(metric(key)) for key in (GMACS, PARAMS_M, ACTIVATIONS_M))
    top1 = metric(TOP1)
    comparable = (rows[RATIO_SOURCE.column] == RATIO_INTERLEAVED) & (rows[BASELINE.column] == baseline)
    return ResultMatrix(
        models=tuple(str(name) for name in models),
        families=_families(rows, models),
        facts=ModelFacts(
            gmacs=column_medians(gmacs),
            params_m=column_medians(params_m),
            activations_m=column_medians(activations_m),
            top1=_float_accuracy(top1, is_quantised(configurations[PRECISION.column]).to_numpy(dtype=bool)),
        ),
        configurations=configurations,
        baseline=baseline,
        latency_ms=positive(metric(LATENCY_P50)),
        memory_mib=positive(metric(MEMORY_PEAK)),
        energy_mj=positive(metric(ENERGY)),
        gmacs=gmacs,
        params_m=params_m,
        activations_m=activations_m,
        top1=top1,
        top1_half_width=(metric(TOP1_HIGH) - metric(TOP1_LOW)) / 2,
        seconds=cells_of(_durations_s(rows)),
        sustained_drop=metric(SUSTAINED_DROP),
        run_ids=run_ids,
        recorded_ratios={part: cells_of(positive(rows[key.column].where(comparable))) for part, key in _RATIOS.items()},
        components=tuple(components),
    )


def _configurations(rows: pd.DataFrame, row: Integers) -> pd.DataFrame:
    first = np.unique(row, return_index=True)[1]
    columns = [*KEY_COLUMNS, TIER.column, GENERATION.column, SOURCE.column]
    table = rows.iloc[first][columns].reset_index(drop=True)
    named = table.assign(label=configuration_labels(table[list(KEY_COLUMNS)])).astype(object)
    named[SIDE], named[UNIT] = named[TIER.column], _chips(named)
    return named


def _float_accuracy(top1: Floats, quantised: Mask) -> Floats:
    """Return each model's accuracy in floating point, or in any other precision if that is all there is."""
    in_float = column_medians(np.where(quantised[:, None], np.nan, top1))
    return np.where(np.isfinite(in_float), in_float, column_medians(top1))


def _side_order(side: str) -> tuple[int, float, str]:
    if side in TIERS:
        return TIERS.index(side), 0.0, side
    return len(TIERS), *level_order(side)


def _fingerprint(values: Floats) -> tuple[int, float]:
    """Return the number of known cells and their exact sum, so that the order of the cells does not matter."""
    finite = values[np.isfinite(values)]
    return finite.size, fsum(finite.tolist())


def _chips(configurations: pd.DataFrame) -> Words:
    chip, device = (configurations[tag.column].to_numpy(dtype=object) for tag in (CHIP, DEVICE))
    return np.where(chip == "", device, chip)


def _families(rows: pd.DataFrame, models: Words) -> Words:
    """Return each model's most common family, "other" if no row has one."""
    named = rows[rows[FAMILY.column] != ""][[MODEL.column, FAMILY.column]].astype(str)
    counts = named.value_counts().reset_index().sort_values(["count", FAMILY.column], ascending=[False, True])
    best = counts.drop_duplicates(MODEL.column).set_index(MODEL.column)[FAMILY.column]
    return np.asarray(best.reindex(models).fillna("other"), dtype=object)


def _durations_s(rows: pd.DataFrame) -> Floats:
    seconds = (rows["end_time"] - rows["start_time"]).dt.total_seconds()
    return np.asarray(seconds.where(rows[SOURCE.column] == SOURCE_MEASURED), dtype=np.float64)
