"""The fleet: every analysis works on these dense matrices, configurations by models.

It is built once from the tidy frame. A cell that was not measured is NaN. All arrays have the shape
(C, M). Nothing is changed after construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import Any

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.analysis.frm import FRM_COMPONENTS, frm_of, positive, ratio
from frm_mlflow.analysis.labels import configuration_labels
from frm_mlflow.analysis.matched import level_order
from frm_mlflow.analysis.rows import KEY_COLUMNS
from frm_mlflow.schema import (
    ACTIVATIONS_M,
    BASELINE,
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
"""Columns of `Fleet.configurations` that hold `sides` and `units`."""

_RATIOS = {"flops": RATIO_FLOPS, "latency": RATIO_LATENCY, "memory": RATIO_MEMORY, "energy": RATIO_ENERGY}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet:
    """Benchmarks as matrices: C configurations by M models.

    `configurations` has one row per configuration: its columns, `tier`, `source`, a short `label`, `side` and `unit`.
    `recorded_ratios` are recorded by the runs, interleaved with the baseline; NaN if a run has none.
    `run_ids` has the MLflow run of each cell, "" if there is none.
    `top1_half_width` is half the width of a measured accuracy's interval, in points.
    `components` are the components of FRM; a fourth one, energy, makes it FRM_E.
    `seconds` is the duration of a benchmark measured here, NaN for imported ones. `sustained_drop` is the relative
    slowdown at the end of a sustained run, NaN without one.
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
    top1_half_width: Floats
    seconds: Floats
    sustained_drop: Floats
    run_ids: Words
    recorded_ratios: Mapping[str, Floats]
    components: tuple[str, ...] = FRM_COMPONENTS

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

    @property
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

    def ratios(self, baseline: str | None = None) -> dict[str, Floats]:
        """Return each component divided by the baseline's on the same configuration (paper eq. 2-4).

        A run's interleaved ratio is used if it was measured against this baseline, otherwise the
        quotient of the two runs. NaN if the baseline was not measured.
        """
        name = baseline or self.baseline
        costs = {"flops": self.gmacs, "latency": self.latency_ms, "memory": self.memory_mib, "energy": self.energy_mj}
        quotients = {part: ratio(cost, self._column(cost, name)) for part, cost in costs.items()}
        if name != self.baseline:
            return quotients
        own = dict(self.recorded_ratios)
        own["flops"] = np.where(np.isfinite(quotients["flops"]), np.nan, own["flops"])
        return {part: np.where(np.isfinite(own[part]), own[part], quotients[part]) for part in quotients}

    def frm(self, baseline: str | None = None, components: Sequence[str] | None = None) -> Floats:
        """Return FRM of every cell (paper eq. 1) over the fleet's components; NaN if one is missing."""
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
        costs = {"flops": self.gmacs, "latency": self.latency_ms, "memory": self.memory_mib, "energy": self.energy_mj}
        related = self.has_baseline[:, None]
        return {part: np.where(related, ratio, positive(costs[part])) for part, ratio in self.ratios().items()}

    def frm_order(self) -> Floats:
        """Return FRM if the baseline was measured, otherwise FRM up to a constant factor per configuration."""
        return frm_of(self.rankable_ratios(), components=self.components)

    def select(self, rows: Integers | Mask) -> Fleet:
        """Return the fleet with the given configurations, by mask or positions; all models are kept."""
        parts = {name: getattr(self, name)[rows] for name in _CELLS}
        ratios = {name: values[rows] for name, values in self.recorded_ratios.items()}
        table = self.configurations.iloc[np.arange(len(self.configurations))[rows]].reset_index(drop=True)
        return replace(self, configurations=table, recorded_ratios=ratios, **parts)

    def without_unmeasured_models(self) -> Fleet:
        """Return the fleet without models that were not measured on any of its configurations."""
        measured: Mask = np.asarray(self.measured.any(axis=0))
        return self.only_models(measured)

    def only_models(self, kept: Mask) -> Fleet:
        """Return the fleet with only the given models."""
        names, families = (np.asarray(v, dtype=object)[kept] for v in (self.models, self.families))
        parts: dict[str, Any] = {name: getattr(self, name)[:, kept] for name in _CELLS}
        ratios = {name: values[:, kept] for name, values in self.recorded_ratios.items()}
        return replace(self, models=tuple(names), families=tuple(families), recorded_ratios=ratios, **parts)

    def under_load(self) -> Fleet:
        """Return the fleet with the costs at the end of its sustained runs; cells without such a run are NaN."""
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


def stacked(one: Fleet, other: Fleet) -> Fleet:
    """Return the configurations of two fleets with the same models, one fleet after the other."""
    ratios = {part: np.vstack([own, other.recorded_ratios[part]]) for part, own in one.recorded_ratios.items()}
    table = pd.concat([one.configurations, other.configurations], ignore_index=True)
    parts: dict[str, Any] = {name: np.vstack([getattr(one, name), getattr(other, name)]) for name in _CELLS}
    return replace(one, configurations=table, recorded_ratios=ratios, **parts)


def fleet_from_rows(rows: pd.DataFrame, *, baseline: str, components: Sequence[str] = FRM_COMPONENTS) -> Fleet:
    """Return the fleet of rows that are already unique by configuration and model."""
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
        top1_half_width=_finite((metric(TOP1_HIGH) - metric(TOP1_LOW)) / 2),
        seconds=matrix(_durations_s(rows)),
        sustained_drop=_finite(metric(SUSTAINED_DROP)),
        run_ids=run_ids,
        recorded_ratios={part: matrix(positive(rows[key.column].where(own))) for part, key in _RATIOS.items()},
        components=tuple(components),
    )


def _configurations(rows: pd.DataFrame, row: Integers) -> pd.DataFrame:
    first = np.unique(row, return_index=True)[1]
    table = rows.iloc[first][[*KEY_COLUMNS, TIER.column, SOURCE.column]].reset_index(drop=True)
    named = table.assign(label=configuration_labels(table[list(KEY_COLUMNS)])).astype(object)
    named[SIDE], named[UNIT] = named[TIER.column], _chips(named)
    return named


def _side_order(side: str) -> tuple[int, float, str]:
    if side in TIERS:
        return TIERS.index(side), 0.0, side
    return len(TIERS), *level_order(side)


def _fingerprint(values: Floats) -> tuple[int, float]:
    """Return the number of known cells and their exact sum, so that the order of the cells does not matter."""
    known = values[np.isfinite(values)]
    return known.size, fsum(known.tolist())


def _chips(configurations: pd.DataFrame) -> Words:
    chip, device = (configurations[tag.column].to_numpy(dtype=object) for tag in (CHIP, DEVICE))
    return np.where(chip == "", device, chip)


def _families(rows: pd.DataFrame, column: Integers, n_models: int) -> tuple[str, ...]:
    """Return each model's most common family."""
    counts = pd.DataFrame({"model": column, "family": rows[FAMILY.column].to_numpy()}).value_counts()
    ordered = counts.reset_index().sort_values(["count", "family"], ascending=[False, True], kind="stable")
    best = ordered.drop_duplicates("model").set_index("model")["family"]
    return tuple(str(best.loc[index]) or "other" for index in range(n_models))


def _durations_s(rows: pd.DataFrame) -> Floats:
    seconds = (rows["end_time"] - rows["start_time"]).dt.total_seconds()
    return np.asarray(seconds.where(rows[SOURCE.column] == SOURCE_MEASURED), dtype=np.float64)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)
