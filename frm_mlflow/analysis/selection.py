"""From a tidy frame to the configurations that an analysis may compare, with all omissions counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from frm_mlflow.analysis.arrays import Floats, Mask
from frm_mlflow.analysis.matrix import SIDE, UNIT, ResultMatrix, matrix_from_rows
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import LeftOut, missing_metrics, usable_rows
from frm_mlflow.errors import DataError
from frm_mlflow.schema import BATCH_SIZE, CHIP, DEVICE, GENERATION, PRECISION, RESOLUTION, RUNTIME

_STAND_INS = (RUNTIME, PRECISION)
_MEDIAN_DIFFERENCE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Contents of a frame: all configurations, the comparable ones, and what was left out."""

    matrix: ResultMatrix
    comparable: ResultMatrix
    stand_in: str
    """Sentence on what replaces tiers and chips in `comparable`; "" if nothing does."""
    rows: pd.DataFrame
    left_out: pd.DataFrame
    missing: pd.DataFrame


def selection_of(frame: pd.DataFrame, options: AnalysisOptions) -> Selection:
    """Build the matrix from a tidy frame and report what was left out.

    Raises
    ------
    DataError
        If no rows are left; the message lists how many each rule removed.
    """
    rows, left_out = usable_rows(frame, options)
    if rows.empty:
        reasons = "; ".join(f"{item.reason}: {item.rows}" for item in left_out) or "the query returned none"
        raise DataError(f"no benchmark to analyse among {len(frame)} rows ({reasons})")
    matrix = matrix_from_rows(rows, baseline=options.baseline, components=options.components)
    _require_components(matrix)
    _note_baseless(matrix, left_out)
    if not options.count_duplicates:
        matrix = _without_near_duplicates(matrix, options, left_out)
    comparable, stand_in = with_stand_ins(_one_stratum(matrix, options, left_out))
    columns = ["reason", "rows", "detail"]
    table = pd.DataFrame([[getattr(item, name) for name in columns] for item in left_out], columns=columns)
    return Selection(
        matrix=matrix.without_unmeasured_models(),
        comparable=comparable.without_unmeasured_models(),
        stand_in=stand_in,
        rows=rows,
        left_out=table,
        missing=missing_metrics(rows),
    )


def _note_baseless(matrix: ResultMatrix, left_out: list[LeftOut]) -> None:
    """Count the configurations without FRM because the baseline is missing; their ranks do not need it."""
    without = ~matrix.has_baseline
    if not without.any():
        return
    if without.all():
        common = sorted(zip((-matrix.measured.sum(axis=0)).tolist(), matrix.models, strict=True))[:5]
        names = ", ".join(f"{model} ({-count})" for count, model in common)
        raise DataError(
            f"no configuration has the baseline {matrix.baseline}; set baseline to a model that is measured: {names}"
        )
    names = "; ".join(label for label, is_out in zip(matrix.labels, without, strict=True) if is_out)
    reason = f"values of FRM and of ratios only: no baseline {matrix.baseline} on the configuration; ranks count"
    left_out.append(LeftOut(reason=reason, rows=int(matrix.measured[without].sum()), detail=names))


def _require_components(matrix: ResultMatrix) -> None:
    """Raise an error if energy is a component and no benchmark has one."""
    if "energy" in matrix.components and not np.isfinite(matrix.energy_mj).any():
        raise DataError(
            "options.components holds energy, and no benchmark has an energy: it is logged as "
            "energy/per_inference_mj on devices with a meter. Leave energy out of options.components"
        )


def _without_near_duplicates(matrix: ResultMatrix, options: AnalysisOptions, left_out: list[LeftOut]) -> ResultMatrix:
    twins = near_duplicates(matrix.configurations, matrix.latency_ms, min_models=options.min_models)
    return _without(
        matrix, twins, "near-duplicate device: same chip, same ranks, median difference under 1 %", left_out
    )


def _one_stratum(matrix: ResultMatrix, options: AnalysisOptions, left_out: list[LeftOut]) -> ResultMatrix:
    """Return the configurations of one batch size and resolution; others are not comparable with them."""
    for column, wanted in ((BATCH_SIZE.column, options.batch_size), (RESOLUTION.column, options.resolution)):
        values = matrix.configurations[column].to_numpy(dtype=object)
        weight = pd.Series(matrix.measured.sum(axis=1)).groupby(values).sum()
        kept = str(wanted) if wanted is not None else str(weight.idxmax())
        if kept not in weight.index:
            raise DataError(f"no benchmark with {column} {kept}; there are {', '.join(map(str, weight.index))}")
        reason = f"{column} is not {kept}: seen by frm, disagreement, sensitivity and cost only"
        matrix = _without(matrix, values != kept, reason, left_out)
    return matrix


def _without(matrix: ResultMatrix, left: Mask, reason: str, left_out: list[LeftOut]) -> ResultMatrix:
    if not left.any():
        return matrix
    names = [label for label, is_out in zip(matrix.labels, left, strict=True) if is_out]
    left_out.append(LeftOut(reason=reason, rows=int(matrix.measured[left].sum()), detail="; ".join(names)))
    if left.all():
        raise DataError(f"no configuration is left to analyse ({reason}): {'; '.join(names[:5])}")
    return matrix.select(~left)


def with_stand_ins(matrix: ResultMatrix) -> tuple[ResultMatrix, str]:
    """Return the matrix with the available sides, and a sentence on what replaces what; "" if nothing is replaced.

    With two tiers nothing changes. With one tier the sides are its runtimes, and with one runtime its precisions.
    Pairs of configurations must differ in their chip if there are at least two chips, otherwise in their side.
    Intervals always resample chips, so a single chip has no interval.
    """
    tiers = set(matrix.tiers)
    if len(tiers) > 1:
        return matrix, ""
    table = matrix.configurations
    axis = next((tag.column for tag in _STAND_INS if len(set(table[tag.column])) > 1), None)
    if axis is None:
        return matrix, ""
    note = f"All configurations belong to one tier ({min(tiers)}), so its {axis}s are compared in place of tiers."
    changed = table.assign(**{SIDE: table[axis]})
    if len(set(matrix.chips)) == 1:
        changed[UNIT] = matrix.chips + " · " + table[axis].to_numpy(dtype=object)
        note += (
            f" All share one chip ({matrix.chips[0]}), so there is no interval and the result says nothing about "
            "other chips."
        )
    return replace(matrix, configurations=changed), note


def near_duplicates(configurations: pd.DataFrame, latency_ms: Floats, *, min_models: int) -> Mask:
    """Return which configurations repeat another one, with the same numbers under a different device name.

    Two configurations are near-duplicates if their chip is known and equal, everything else except the device
    is equal and, over at least `min_models` common models, their latency ranks agree completely and the
    median difference is below 1 %. Of such duplicates, the one with the most models is kept, then the
    first by label.
    """
    repeated = np.zeros(len(configurations), dtype=np.bool_)
    for group in _candidates(configurations):
        fullest = sorted(group, key=lambda row: -int(np.isfinite(latency_ms[row]).sum()))
        kept: list[int] = []
        for row in fullest:
            repeated[row] = any(_same(latency_ms[row], latency_ms[other], min_models) for other in kept)
            if not repeated[row]:
                kept.append(row)
    return repeated


def _candidates(configurations: pd.DataFrame) -> Iterable[list[int]]:
    ignored = {DEVICE.column, GENERATION.column, "label", "source"}
    with_chip = configurations[configurations[CHIP.column] != ""]
    groups = with_chip.groupby([name for name in with_chip.columns if name not in ignored], sort=False)
    return (list(rows) for rows in groups.groups.values() if len(rows) > 1)


def _same(one: Floats, other: Floats, min_models: int) -> bool:
    common = np.isfinite(one) & np.isfinite(other)
    if common.sum() < min_models:
        return False
    difference = np.median(np.abs(np.log(one[common] / other[common])))
    return bool(
        difference < np.log1p(_MEDIAN_DIFFERENCE) and spearmanr(one[common], other[common]).statistic > 1 - 1e-12
    )
