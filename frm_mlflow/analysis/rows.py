"""Choice of the rows of the tidy frame to analyse, with a record of which are left out and why.

Missing data is counted, never filled. Rows that are not comparable are split into separate configurations
or refused, never mixed:

- FLOPs conventions: the most common one is kept, other rows are refused.
- Latency statistics (median, mean) and memory definitions: part of the configuration, so the
  numerator and denominator of every ratio are of the same kind.
- Input sizes: at one resolution, a model's most common input size is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.facts import BORROWED, one_per_model, replaced_values
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.frame import tidy
from frm_mlflow.schema import (
    COMPUTE_UNIT,
    CONFIGURATION_COLUMNS,
    DEVICE,
    FLOPS_CONVENTION,
    INPUT_SIZE,
    JOB_ID,
    KIND,
    KIND_BENCHMARK,
    LATENCY_P50,
    LATENCY_STATISTIC,
    MEASURED_ON,
    MEMORY_DEFINITION,
    MEMORY_PEAK,
    METRICS,
    MODEL,
    PRECISION,
    RESOLUTION,
    RUNTIME,
    SERIES,
    TIER,
    TIERS,
)

KEY_COLUMNS: tuple[str, ...] = (*CONFIGURATION_COLUMNS, LATENCY_STATISTIC.column, MEMORY_DEFINITION.column)
"""Columns that must be equal for two numbers to be used in one ratio."""

_ALWAYS = tuple(tag.column for tag in (DEVICE, RUNTIME, PRECISION, COMPUTE_UNIT))

Keep = pd.Series
"""Boolean series aligned with the frame: true for rows to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Rows that an analysis does not use, with the reason and a description."""

    reason: str
    rows: int
    detail: str = ""


def usable_rows(frame: pd.DataFrame, options: AnalysisOptions) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Return the comparable rows, each benchmark once, and what was left out.

    The result is tidy, with the columns of `KEY_COLUMNS` as strings. `frame` is not changed.
    """
    left_out: list[LeftOut] = []
    rows = tidy(frame)
    for reason, detail_column, rule in _RULES:
        rows = _sift(rows, rule(rows), reason, detail_column, left_out)
    rows = _with_key_words(rows)
    if not options.count_duplicates:
        rows = _sift(rows, one_device_a_job(rows), "job republished under another device", DEVICE.column, left_out)
    duplicate = f"another benchmark of the same configuration (kept: {options.duplicates})"
    rows = _sift(rows, _one_a_cell(rows, options.duplicates), duplicate, MODEL.column, left_out)
    return _with_model_facts(rows, options, left_out), left_out


def missing_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, for each metric present in any row, how many rows lack it or have an infinite value."""
    values = rows.reindex(columns=[metric.column for metric in METRICS])
    counts = {"missing": values.isna().sum(), "infinite": np.isinf(values).sum()}
    table = pd.DataFrame(counts).rename_axis("metric").reset_index()
    partly = (table["missing"] < len(rows)) & (table["missing"] + table["infinite"] > 0)
    return table[partly].reset_index(drop=True)


def one_device_a_job(rows: pd.DataFrame) -> Keep:
    """Return the rows to keep so that a job published under several device names counts once.

    It is kept under the device that ran it, or else the one with the most rows, so that one
    device keeps its whole set of models.
    """
    device, ran_on = rows[DEVICE.column], rows[MEASURED_ON.column]
    table = rows[[JOB_ID.column, MODEL.column]].assign(
        device=device, elsewhere=(ran_on != "") & (ran_on != device), rarity=-device.map(device.value_counts())
    )
    with_job = table[table[JOB_ID.column] != ""].sort_values(["elsewhere", "rarity", "device"], kind="stable")
    first = with_job.groupby([JOB_ID.column, MODEL.column], sort=False)["device"].transform("first")
    return (with_job["device"] == first).reindex(rows.index, fill_value=True)


def _with_model_facts(rows: pd.DataFrame, options: AnalysisOptions, left_out: list[LeftOut]) -> pd.DataFrame:
    """Return the rows with one value per model for each fact; replaced values are counted."""
    changed, replaced = one_per_model(rows, quantised=options.quantised_accuracy)
    for fact, mask in replaced.items():
        if not mask.any():
            continue
        if fact == BORROWED:
            reason, detail = "the accuracy only: published for the float network, not the quantised one", MODEL.column
            left_out.append(LeftOut(reason=reason, rows=int(mask.sum()), detail=_most_common(rows[mask][detail])))
        else:
            reason = f"{fact} only: another value than most sources give the model (docs/analyses.md)"
            detail = replaced_values(rows, changed, mask, fact)
            left_out.append(LeftOut(reason=reason, rows=int(mask.sum()), detail=detail))
    return changed


def _sift(rows: pd.DataFrame, keep: Keep, reason: str, detail_column: str, left_out: list[LeftOut]) -> pd.DataFrame:
    removed = rows[~keep]
    if len(removed):
        left_out.append(LeftOut(reason=reason, rows=len(removed), detail=_most_common(removed[detail_column])))
    return rows[keep]


def _most_common(words: pd.Series, *, shown: int = 5) -> str:
    counts = words.replace("", "(none)").value_counts()
    named = [f"{name}: {count}" for name, count in counts.head(shown).items()]
    return ", ".join(named) + (f", and {len(counts) - shown} more" if len(counts) > shown else "")


def _is_finished(rows: pd.DataFrame) -> Keep:
    return rows[KIND.column].isin(["", KIND_BENCHMARK]) & rows["status"].isin(["", "FINISHED"])


def _is_named(rows: pd.DataFrame) -> Keep:
    return (rows[MODEL.column] != "") & (rows[DEVICE.column] != "") & rows[TIER.column].isin(TIERS)


def _has_latency(rows: pd.DataFrame) -> Keep:
    latency = rows[LATENCY_P50.column]
    return (latency > 0) & (latency < np.inf)


def _is_newest_of_series(rows: pd.DataFrame) -> Keep:
    alone = rows[SERIES.column] == ""
    series = rows[SERIES.column].where(~alone, rows.index.astype(str) + " is alone")
    return _last_of(rows, series, rows["end_time"])


def _has_common_convention(rows: pd.DataFrame) -> Keep:
    convention = rows[FLOPS_CONVENTION.column]
    stated = convention[convention != ""]
    return convention.isin(["", *stated.mode().head(1)])


def _has_usual_input_size(rows: pd.DataFrame) -> Keep:
    keys = [MODEL.column, RESOLUTION.column]
    side = rows[INPUT_SIZE.column]
    counts = rows[side.notna()].value_counts([*keys, INPUT_SIZE.column]).reset_index()
    counts = counts.sort_values(["count", INPUT_SIZE.column], ascending=[False, True], kind="stable")
    usual = counts.drop_duplicates(keys).set_index(keys)[INPUT_SIZE.column]
    expected = usual.reindex(pd.MultiIndex.from_frame(rows[keys])).to_numpy()
    return side.isna() | (side == expected).fillna(False).astype(bool)


_RULES: tuple[tuple[str, str, Callable[[pd.DataFrame], Keep]], ...] = (
    ("not a finished benchmark", "status", _is_finished),
    ("no model, device or known tier", TIER.column, _is_named),
    ("latency missing, infinite or not above zero", MODEL.column, _has_latency),
    ("superseded by a newer version of its source", MODEL.column, _is_newest_of_series),
    ("another FLOPs convention than most rows", FLOPS_CONVENTION.column, _has_common_convention),
    ("another input size than the model's usual one", MODEL.column, _has_usual_input_size),
)


def _with_key_words(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose key columns are strings; a row without memory takes the memory definition of its neighbours."""
    words = words_of(rows, KEY_COLUMNS)
    definition = words[MEMORY_DEFINITION.column].where(np.isfinite(rows[MEMORY_PEAK.column]))
    others = [words[name] for name in KEY_COLUMNS if name != MEMORY_DEFINITION.column]
    neighbours = definition.groupby(others, sort=False).transform("first")
    words[MEMORY_DEFINITION.column] = definition.fillna(neighbours).fillna("")
    return rows.assign(**{name: words[name].astype(object) for name in KEY_COLUMNS})


def _one_a_cell(rows: pd.DataFrame, rule: str) -> Keep:
    """Return the rows to keep so that one model on one configuration counts once."""
    cell = rows.groupby([*KEY_COLUMNS, MODEL.column], sort=False).ngroup()
    latency = rows[LATENCY_P50.column]
    keys = {"newest": rows["end_time"], "best": -latency, "median": latency}
    if rule != "median":
        return _last_of(rows, cell, keys[rule])
    order = _sorted_cells(rows, cell, latency)
    group = order.groupby("cell")["cell"]
    return (group.cumcount() == (group.transform("size") - 1) // 2).reindex(rows.index)


def _last_of(rows: pd.DataFrame, cell: pd.Series, key: pd.Series) -> Keep:
    return (~_sorted_cells(rows, cell, key)["cell"].duplicated(keep="last")).reindex(rows.index)


def _sorted_cells(rows: pd.DataFrame, cell: pd.Series, key: pd.Series) -> pd.DataFrame:
    """Return the cells in the order of `key`; ties are broken by latency and run, not by the order of the rows."""
    table = pd.DataFrame({"cell": cell, "key": key, "latency": rows[LATENCY_P50.column], "run_id": rows["run_id"]})
    return table.sort_values(list(table.columns), kind="stable", na_position="first")


def configuration_labels(words: pd.DataFrame) -> list[str]:
    """Return one label per row of `words`, whose columns include those of a configuration, as strings.

    Device, runtime, precision and compute unit are always included. Any other column is included only
    if two rows that agree in those four differ in it.
    """
    shown = list(_ALWAYS)
    for extra in (name for name in words.columns if name not in _ALWAYS):
        if len(words) > 1 and words.groupby(shown)[extra].nunique().gt(1).any():
            shown.append(extra)
    ordered = [name for name in words.columns if name in shown]
    return [" · ".join(part for part in row if part) for row in words[ordered].itertuples(index=False)]


def words_of(frame: pd.DataFrame, columns: tuple[str, ...] = CONFIGURATION_COLUMNS) -> pd.DataFrame:
    """Return the named columns as strings; missing values become the empty string."""
    return frame.reindex(columns=list(columns)).astype("string").fillna("")


def level_order(level: str) -> tuple[float, str]:
    """Return a sort key: numbers by value, precisions from wide to narrow, words alphabetically."""
    wide_to_narrow = {"fp32": 0, "tf32": 1, "bf16": 2, "fp16": 3, "w8a16": 4, "int8": 5}
    if level in wide_to_narrow:
        return wide_to_narrow[level], level
    try:
        return float(level), level
    except ValueError:
        return float("inf"), level
