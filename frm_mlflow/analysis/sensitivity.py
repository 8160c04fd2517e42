"""Other influences on a ranking: batch size, precision, input size, release, sustained load (open in paper 7.3).

Each axis compares configurations that differ only in it. Sustained load compares a
configuration with itself, at the end of runs that last minutes (`measure=sustained`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, finite_mean
from frm_mlflow.analysis.controls import FRM, LATENCY, PARAMS, SHUFFLED, metrics, shuffled_frm
from frm_mlflow.analysis.frm import frm, ratio
from frm_mlflow.analysis.matched import level_pairs, matched_pairs
from frm_mlflow.analysis.matrix import ResultMatrix, stacked
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import ranks
from frm_mlflow.analysis.result import Analysis, Result, count, figure, interval_cells, keyed
from frm_mlflow.analysis.rows import KEY_COLUMNS, level_order
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
    matrix = selection.matrix
    matrices = dict.fromkeys(AXES, matrix) | {LOAD: fresh_and_loaded(matrix)}
    transfer = pd.concat([axis_transfer(matrices[axis], axis, options, rng) for axis in AXES], ignore_index=True)
    if transfer.empty:
        raise DataError(
            f"no two configurations differ only in one of {', '.join(AXES.values())}: "
            "run `frm-mlflow bench` again with another batch_size or precision, or with measure=sustained"
        )
    moves = pd.concat([model_moves(matrices[axis], axis) for axis in AXES], ignore_index=True)
    tables = {"axes": transfer, "moves": moves, "batch": batch_aware_frm(matrix)}
    return Result(tables=tables, sentences=tuple(_sentences(tables)))


def fresh_and_loaded(matrix: ResultMatrix) -> ResultMatrix:
    """Return the configurations with a sustained run twice: as measured, and at the end of that run."""
    held = matrix.select(np.flatnonzero(np.isfinite(matrix.sustained_drop).any(axis=1)))
    loaded = held.under_load()
    both = stacked(held, loaded)
    levels = np.repeat(["short", "sustained"], len(held.labels)).astype(object)
    return replace(both, configurations=both.configurations.assign(**{LOAD: levels}))


def axis_transfer(matrix: ResultMatrix, axis: str, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rank correlation between the levels of one axis, for FRM, single metrics and shuffled FRM."""
    values = {name: cells for name, cells in metrics(matrix).items() if name != PARAMS}
    values[SHUFFLED] = next(shuffled_frm(matrix, repeats=1, rng=rng))
    levels_of = values | {FRM: matrix.frm(), SHUFFLED: np.full_like(values[SHUFFLED], np.nan)}
    rows: list[dict[str, object]] = []
    for pair in level_pairs(matrix, axis, values, options, rng):
        for place, (name, interval) in enumerate(zip(values, pair.intervals, strict=True)):
            change = np.log(levels_of[name][pair.b]) - np.log(levels_of[name][pair.a])
            rows.append(
                {"axis": AXES[axis], "level": pair.level, "other": pair.other, "metric": name}
                | {"rho": interval.value, **interval_cells(interval)}
                | {"pairs": int(np.isfinite(pair.rho[:, place]).sum()), "factor": float(np.exp(finite_mean(change)))}
            )
    return pd.DataFrame(rows)


def model_moves(matrix: ResultMatrix, axis: str) -> pd.DataFrame:
    """Return each model's movement along an axis: mean ranks by latency and FRM, and latency relative to the others.

    `relative_latency` is the model's latency ratio between the levels, divided by the median model's ratio.
    """
    matched = matched_pairs(matrix.configurations, axis)
    if not matched.a.size:
        return pd.DataFrame()
    frm_values, latency = matrix.frm_order(), np.where(matrix.measured, matrix.latency_ms, np.nan)
    change = np.log(latency[matched.b]) - np.log(latency[matched.a])
    has_any = np.isfinite(change).any(axis=1)
    relative = np.full_like(change, np.nan)
    relative[has_any] = change[has_any] - np.nanmedian(change[has_any], axis=1, keepdims=True)
    table = pd.DataFrame(
        {
            "axis": AXES[axis],
            "level": np.repeat(matched.level_a, len(matrix.models)),
            "other": np.repeat(matched.level_b, len(matrix.models)),
            "model": np.tile(np.asarray(matrix.models, dtype=object), matched.a.size),
            "family": np.tile(matrix.families, matched.a.size),
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


def batch_aware_frm(matrix: ResultMatrix) -> pd.DataFrame:
    """Return FRM per sample: latency and memory per batch item, relative to the baseline at the smallest batch size.

    Plain FRM divides by the baseline at the same batch size, so a gain from batching that all models
    share cancels out. Here it stays visible.
    """
    batch = matrix.configurations[BATCH_SIZE.column]
    others = [name for name in KEY_COLUMNS if name != BATCH_SIZE.column]
    if matrix.baseline not in matrix.models:
        return pd.DataFrame()
    reference = matrix.models.index(matrix.baseline)
    tables = []
    for rows in matrix.configurations.groupby(others, sort=False).indices.values():
        ordered = sorted((int(row) for row in rows), key=lambda row: level_order(str(batch[row])))
        first = ordered[0]
        for row in ordered if len(ordered) > 1 else []:
            size = float(batch[row])
            value = frm(
                ratio(matrix.gmacs[row], matrix.gmacs[first, reference]),
                ratio(matrix.latency_ms[row] / size, matrix.latency_ms[first, reference] / float(batch[first])),
                ratio(matrix.memory_mib[row] / size, matrix.memory_mib[first, reference] / float(batch[first])),
            )
            names = {"configuration": matrix.labels[row], "batch_size": int(size), "model": matrix.models}
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
    sentences = []
    for axis, level, other in dict.fromkeys(key[:3] for key in rho):
        moved = moves[(moves["axis"] == axis) & (moves["level"] == level) & (moves["other"] == other)]
        by_latency, by_frm = (rho[axis, level, other, metric] for metric in (LATENCY, FRM))
        if np.isfinite(by_latency) and len(moved):
            sentences.append(
                f"{axis} {level} → {other}: the rank correlation ρ is {by_latency:.3f} for latency and "
                f"{figure(by_frm)} for FRM ({count(int(pairs[axis, level, other, LATENCY]), 'pair')}). "
                f"{moved['model'].iloc[0]} moves most, by {float(moved['ranks_by_latency'].iloc[0]):+.1f} ranks."
            )
    absent = [name for name in AXES.values() if name not in set(axes["axis"])]
    if AXES[LOAD] in absent:
        absent.remove(AXES[LOAD])
        sentences.append("No benchmark has a sustained run: `measure=sustained` adds ten minutes of load to each.")
    if absent:
        sentences.append(f"No two configurations differ only in one of these: {', '.join(absent)}.")
    return sentences


SENSITIVITY = Analysis(
    name="sensitivity",
    question="Do batch size, precision, input size, a software release or sustained load change the ranking?",
    paper="7.3 (open there)",
    compute=compute,
)
