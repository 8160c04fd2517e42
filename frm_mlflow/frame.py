"""The tidy frame: one row per benchmark, with `schema.FRAME_COLUMNS` as columns, whatever its origin.

Tracking's query, importers and a running sweep all produce it, so that every analysis gets one
set of columns with one set of types: metrics are float64 with NaN if nothing was measured,
tags are strings with "" if the value is unknown, times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from frm_mlflow import schema
from frm_mlflow.records import BenchmarkRecord

TIME_COLUMNS = ("start_time", "end_time")
INTEGER_COLUMNS = (schema.BATCH_SIZE.column, schema.INPUT_SIZE.column)
METRIC_COLUMNS = tuple(metric.column for metric in schema.METRICS)


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with exactly `schema.FRAME_COLUMNS` in the contract's types.

    Missing columns are added empty, other columns are dropped; the input is not changed.
    Integers (`batch_size`, `input_size`) are nullable Int64. There and in metrics, text that is not a number
    counts as missing.
    """
    given = frame.reindex(columns=list(schema.FRAME_COLUMNS)).reset_index(drop=True)
    return pd.DataFrame({column: _typed(given[column]) for column in schema.FRAME_COLUMNS})


def _typed(values: pd.Series) -> pd.Series:
    """Return a column, identified by its name, in the contract's type."""
    if values.name in TIME_COLUMNS:
        return pd.to_datetime(values, utc=True)
    if values.name in METRIC_COLUMNS:
        return pd.to_numeric(values, errors="coerce").astype("float64")
    if values.name in INTEGER_COLUMNS:
        return pd.to_numeric(values, errors="coerce").astype("Int64")
    return values.astype("object").where(values.notna(), "").astype(str)


def from_runs(runs: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Return the tidy frame of runs, each a mapping from column (`schema.FRAME_COLUMNS`) to value."""
    return tidy(pd.DataFrame(list(runs)))


def from_records(records: Iterable[BenchmarkRecord], *, run_ids: Sequence[str] = ()) -> pd.DataFrame:
    """Return the tidy frame of `records`; `run_ids`, if given, are the ids of the same records in order."""
    rows = [row_of(record) for record in records]
    for row, run_id in zip(rows, run_ids, strict=False):
        row["run_id"] = run_id
    return from_runs(rows)


def row_of(record: BenchmarkRecord) -> dict[str, object]:
    """Return one record as a mapping from column to value."""
    row: dict[str, object] = {schema.TAG_BY_KEY[key].column: value for key, value in record.all_tags().items()}
    row |= {schema.METRIC_BY_KEY[key].column: value for key, value in record.metrics.items()}
    return row | {"status": "FINISHED", "start_time": record.start_time, "end_time": record.end_time}
