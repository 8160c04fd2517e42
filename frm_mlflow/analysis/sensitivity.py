"""Other influences on a ranking: batch size, precision, input size, release, sustained load (open in paper 7.3).

Each axis compares configurations that differ only in it. Sustained load compares a
configuration with itself, at the end of runs that last minutes (`measure=sustained`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, known_mean
from frm_mlflow.analysis.bootstrap import CORRELATION, mean_intervals
from frm_mlflow.analysis.controls import FRM, LATENCY, PARAMS, SHUFFLED, metrics, shuffled_frm
from frm_mlflow.analysis.fleet import Fleet, stacked
from frm_mlflow.analysis.frm import frm, ratio
from frm_mlflow.analysis.matched import level_order, matched_pairs
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import ranks, row_spearman
from frm_mlflow.analysis.result import Analysis, Result, interval_cells, keyed
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.errors import DataError
from frm_mlflow.schema import BATCH_SIZE, COMPUTE_UNIT, PRECISION, RESOLUTION, RUNTIME_VERSION

LOAD = "load"

AXES: dict[str, str] = {
    BATCH_SIZE.column: "batch size",
    PRECISION.column: "precision",
    RESOLUTION.column: "input size",
    RUNTIME_VERSION.column: "software release",
    COMPUTE_UNIT.column: "compute unit",
    LOAD: "sustained load",
}


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return rank transfer along each axis, the models that move, and FRM per sample by batch size."""
    fleet = selection.fleet
    fleets = dict.fromkeys(AXES, fleet) | {LOAD: fresh_and_loaded(fleet)}
    transfer = pd.concat([axis_transfer(fleets[axis], axis, options, rng) for axis in AXES], ignore_index=True)
    if transfer.empty:
        raise DataError(
            f"no two configurations differ in one of {', '.join(AXES.values())} alone: "
            "run `frm-mlflow bench` again with another batch_size or precision, or with measure=sustained"
        )
    moves = pd.concat([model_moves(fleets[axis], axis) for axis in AXES], ignore_index=True)
    tables = {"axes": transfer, "moves": moves, "batch": batch_aware_frm(fleet)}
    return Result(tables=tables, sentences=tuple(_sentences(tables)))


def fresh_and_loaded(fleet: Fleet) -> Fleet:
    """Return the configurations with a sustained run twice: as measured, and at the end of that run."""
    held = fleet.select(np.flatnonzero(np.isfinite(fleet.sustained_drop).any(axis=1)))
    loaded = held.under_load()
    both = stacked(held, loaded)
    levels = np.repeat(["short", "sustained"], len(held.labels)).astype(object)
    return replace(both, configurations=both.configurations.assign(**{LOAD: levels}))


def axis_transfer(fleet: Fleet, axis: str, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rank correlation between the levels of one axis, for FRM, single metrics and shuffled FRM."""
    matched = matched_pairs(fleet.configurations, axis)
    levels = pd.MultiIndex.from_arrays([matched.level_a, matched.level_b])
    values = {name: cells for name, cells in metrics(fleet).items() if name != PARAMS}
    values[SHUFFLED] = next(shuffled_frm(fleet, repeats=1, rng=rng))
    levels_of = values | {FRM: fleet.frm(), SHUFFLED: np.full_like(values[SHUFFLED], np.nan)}
    rows: list[dict[str, object]] = []
    for pair in levels.unique():
        chosen = np.flatnonzero(levels == pair)
        a, b = matched.a[chosen], matched.b[chosen]
        rho = np.column_stack([row_spearman(v[a], v[b], min_models=options.min_models) for v in values.values()])
        found = mean_intervals(
            rho,
            fleet.clusters[a],
            rng=rng,
            resamples=options.resamples,
            confidence=options.confidence,
            bounds=CORRELATION,
        )
        for place, (name, interval) in enumerate(zip(values, found, strict=True)):
            change = np.log(levels_of[name][b]) - np.log(levels_of[name][a])
            factor = float(np.exp(known_mean(change)))
            rows.append(
                {"axis": AXES[axis], "level": pair[0], "other": pair[1], "metric": name, "rho": interval.estimate}
                | {**interval_cells(interval), "pairs": int(np.isfinite(rho[:, place]).sum()), "factor": factor}
            )
    return pd.DataFrame(rows)


def model_moves(fleet: Fleet, axis: str) -> pd.DataFrame:
    """Return each model's movement along an axis: mean ranks by latency and FRM, and latency relative to the others.

    `relative_latency` is the model's latency ratio between the levels, divided by the median model's ratio.
    """
    matched = matched_pairs(fleet.configurations, axis)
    if not matched.a.size:
        return pd.DataFrame()
    frm_values, latency = fleet.frm_order(), np.where(fleet.measured, fleet.latency_ms, np.nan)
    change = np.log(latency[matched.b]) - np.log(latency[matched.a])
    has_any = np.isfinite(change).any(axis=1)
    relative = np.full_like(change, np.nan)
    relative[has_any] = change[has_any] - np.nanmedian(change[has_any], axis=1, keepdims=True)
    table = pd.DataFrame(
        {
            "axis": AXES[axis],
            "level": np.repeat(matched.level_a, len(fleet.models)),
            "other": np.repeat(matched.level_b, len(fleet.models)),
            "model": np.tile(np.asarray(fleet.models, dtype=object), matched.a.size),
            "family": np.tile(np.asarray(fleet.families, dtype=object), matched.a.size),
            "ranks_by_latency": _rank_change(latency, matched.a, matched.b).ravel(),
            "ranks_by_frm": _rank_change(frm_values, matched.a, matched.b).ravel(),
            "relative_latency": relative.ravel(),
        }
    ).dropna(subset=["relative_latency"])
    keys = ["axis", "level", "other", "model", "family"]
    mean = table.groupby(keys, sort=False).mean().assign(pairs=table.groupby(keys, sort=False).size())
    mean["relative_latency"] = np.exp(mean["relative_latency"])
    order = mean["ranks_by_latency"].abs().sort_values(ascending=False, kind="stable").index
    return mean.loc[order].reset_index()


def batch_aware_frm(fleet: Fleet) -> pd.DataFrame:
    """Return FRM per sample: latency and memory per batch item, relative to the baseline at the smallest batch size.

    Plain FRM divides by the baseline at the same batch size, so a gain from batching that all models
    share cancels out. Here it stays visible.
    """
    batch = fleet.configurations[BATCH_SIZE.column]
    others = [name for name in fleet.configurations.columns if name not in (BATCH_SIZE.column, "label", "source")]
    if fleet.baseline not in fleet.models:
        return pd.DataFrame()
    reference = fleet.models.index(fleet.baseline)
    tables = []
    for rows in fleet.configurations.groupby(others, sort=False).indices.values():
        ordered = sorted((int(row) for row in rows), key=lambda row: level_order(str(batch[row])))
        first = ordered[0]
        for row in ordered if len(ordered) > 1 else []:
            size = float(batch[row])
            value = frm(
                ratio(fleet.gmacs[row], fleet.gmacs[first, reference]),
                ratio(fleet.latency_ms[row] / size, fleet.latency_ms[first, reference] / float(batch[first])),
                ratio(fleet.memory_mib[row] / size, fleet.memory_mib[first, reference] / float(batch[first])),
            )
            names = {"configuration": fleet.labels[row], "batch_size": int(size), "model": fleet.models}
            tables.append(pd.DataFrame({**names, "frm_per_sample": value}).dropna())
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _rank_change(values: Floats, a: Integers, b: Integers) -> Floats:
    common = np.isfinite(values[a]) & np.isfinite(values[b])
    before, after = (ranks(np.where(common, values[rows], np.nan)) for rows in (a, b))
    return after - before


def _sentences(tables: dict[str, pd.DataFrame]) -> list[str]:
    axes, moves = tables["axes"], tables["moves"]
    keys = ["axis", "level", "other", "metric"]
    rho, pairs = keyed(axes, keys, "rho"), keyed(axes, keys, "pairs")
    found = []
    for axis, level, other in dict.fromkeys(key[:3] for key in rho):
        moved = moves[(moves["axis"] == axis) & (moves["level"] == level) & (moves["other"] == other)]
        if np.isfinite(rho[axis, level, other, LATENCY]) and len(moved):
            found.append(
                f"{axis} {level} → {other}: latency ranks agree with ρ = {rho[axis, level, other, LATENCY]:.3f}, FRM's "
                f"with {rho[axis, level, other, FRM]:.3f} ({pairs[axis, level, other, LATENCY]:.0f} pairs); "
                f"{moved['model'].iloc[0]} moves most, by {float(moved['ranks_by_latency'].iloc[0]):+.1f} ranks."
            )
    absent = [name for name in AXES.values() if name not in set(axes["axis"])]
    if AXES[LOAD] in absent:
        absent.remove(AXES[LOAD])
        found.append("No benchmark carries a sustained run: `measure=sustained` adds ten minutes of load to each.")
    if absent:
        found.append(f"No two configurations differ in {' or '.join(absent)} alone.")
    return found


SENSITIVITY = Analysis(
    name="sensitivity",
    question="Do batch size, precision, input size, a software release or sustained load move the ranking?",
    paper="7.3 (open there)",
    compute=compute,
)
