"""From a tidy frame to the configurations that an analysis may compare, with all omissions counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Mask
from frm_mlflow.analysis.dedupe import near_duplicates
from frm_mlflow.analysis.fleet import Fleet, fleet_from_rows
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import LeftOut, missing_metrics, usable_rows
from frm_mlflow.analysis.sides import with_stand_ins
from frm_mlflow.errors import DataError
from frm_mlflow.schema import BATCH_SIZE, RESOLUTION


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Contents of a frame: all configurations, the comparable ones, and what was left out."""

    fleet: Fleet
    comparable: Fleet
    stand_in: str
    """Sentence on what replaces tiers and chips in `comparable`; "" if nothing does."""
    rows: pd.DataFrame
    left_out: pd.DataFrame
    missing: pd.DataFrame


def select_fleet(frame: pd.DataFrame, options: AnalysisOptions) -> Selection:
    """Build the fleet from a tidy frame and report what was left out.

    Raises
    ------
    DataError
        If no rows are left; the message lists how many each rule removed.
    """
    rows, left_out = usable_rows(frame, options)
    if rows.empty:
        reasons = "; ".join(f"{item.reason}: {item.rows}" for item in left_out) or "the query returned none"
        raise DataError(f"no benchmark to analyse among {len(frame)} rows ({reasons})")
    fleet = fleet_from_rows(rows, baseline=options.baseline, components=options.components)
    _require_components(fleet)
    _note_baseless(fleet, left_out)
    if not options.count_duplicates:
        fleet = _without_near_duplicates(fleet, options, left_out)
    comparable, stand_in = with_stand_ins(_one_stratum(fleet, options, left_out))
    columns = ["reason", "rows", "detail"]
    table = pd.DataFrame([[getattr(item, name) for name in columns] for item in left_out], columns=columns)
    return Selection(
        fleet=fleet.without_unmeasured_models(),
        comparable=comparable.without_unmeasured_models(),
        stand_in=stand_in,
        rows=rows,
        left_out=table,
        missing=missing_metrics(rows),
    )


def _note_baseless(fleet: Fleet, left_out: list[LeftOut]) -> None:
    """Count the configurations without FRM because the baseline is missing; their ranks do not need it."""
    lost = ~fleet.has_baseline
    if not lost.any():
        return
    if lost.all():
        common = sorted(zip((-fleet.measured.sum(axis=0)).tolist(), fleet.models, strict=True))[:5]
        names = ", ".join(f"{model} ({-count})" for count, model in common)
        raise DataError(
            f"no configuration has the baseline {fleet.baseline}; set baseline to a model that is measured: {names}"
        )
    names = "; ".join(label for label, gone in zip(fleet.labels, lost, strict=True) if gone)
    reason = f"values of FRM and of ratios only: no baseline {fleet.baseline} on the configuration; ranks count"
    left_out.append(LeftOut(reason=reason, rows=int(fleet.measured[lost].sum()), detail=names))


def _require_components(fleet: Fleet) -> None:
    """Raise an error if a component is missing from every benchmark."""
    costs = {"flops": fleet.gmacs, "latency": fleet.latency_ms, "memory": fleet.memory_mib, "energy": fleet.energy_mj}
    absent = [name for name in fleet.components if not np.isfinite(costs[name]).any() and name == "energy"]
    if absent:
        raise DataError(
            "options.components holds energy, and no benchmark has an energy: it is logged as "
            "energy/per_inference_mj on devices with a meter. Leave energy out of options.components"
        )


def _without_near_duplicates(fleet: Fleet, options: AnalysisOptions, left_out: list[LeftOut]) -> Fleet:
    twins = near_duplicates(fleet.configurations, fleet.latency_ms, min_models=options.min_models)
    return _without(fleet, twins, "near-duplicate device: same chip, same ranks, median difference under 1 %", left_out)


def _one_stratum(fleet: Fleet, options: AnalysisOptions, left_out: list[LeftOut]) -> Fleet:
    """Return the configurations of one batch size and resolution; others are not comparable with them."""
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
