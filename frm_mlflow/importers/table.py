"""Any table, CSV or parquet: columns under our names, or mapped to them in `source.columns`.

Figures may be in other units (`source.units`). What holds for the whole table stands in
`source.given`. A row needs a model, a device and a latency or a peak memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pyarrow
import pyarrow.parquet

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.importers import files, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import GIVEN, Log

MAX_PARQUET_BYTES = 2**29
WORDS = (*GIVEN, "job_id", "date")
METRICS: Mapping[str, schema.Metric] = MappingProxyType({metric.column: metric for metric in schema.METRICS})
FACTORS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "ms": {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3},
        "MiB": {
            "bytes": 2.0**-20,
            "kb": 1e3 / 2**20,
            "mb": 1e6 / 2**20,
            "gb": 1e9 / 2**20,
            "kib": 2.0**-10,
            "mib": 1.0,
            "gib": 2.0**10,
        },
        "GMAC": {"mac": 1e-9, "mmac": 1e-3, "gmac": 1.0, "flop": 0.5e-9, "mflop": 0.5e-3, "gflop": 0.5},
        "1e6": {"count": 1e-6, "k": 1e-3, "m": 1.0, "b": 1e3},
        "%": {"percent": 1.0, "fraction": 100.0},
        "mJ": {"uj": 1e-3, "mj": 1.0, "j": 1e3},
    }
)
"""Our unit to others and what to multiply by; two FLOPs are one multiply-accumulate."""


def read_csv(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield the rows of a CSV table (or of every one below a folder)."""
    for log in logs.logs(path, ("*.csv",)):
        yield from _rows(log, files.read_csv(log.text, log.name), options)


def read_parquet(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield the rows of a parquet table."""
    frame = _parquet(path)
    cells = ((number, row) for number, row in enumerate(frame.to_dict("records"), start=1))
    log = Log(path.name, path, frame.to_csv(index=False), files.modified(path))
    yield from _rows(
        log, ((n, {str(k): "" if v is None else str(v) for k, v in row.items()}) for n, row in cells), options
    )


def _parquet(path: Path) -> pd.DataFrame:
    try:
        metadata = pyarrow.parquet.read_metadata(path)
        size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        if size > MAX_PARQUET_BYTES:
            files.fail(path.name, f"unpacks to more than {MAX_PARQUET_BYTES // 2**20} MiB")
        frame: pd.DataFrame = pyarrow.parquet.read_table(path).to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        files.fail(path.name, f"is not a parquet table: {str(error)[:120]}")
    return frame


def _rows(log: Log, table: Iterator[tuple[int, Mapping[str, str]]], options: SourceConfig) -> Iterator[Row | LeftOut]:
    columns = {name: name for name in (*WORDS, *METRICS)} | dict(_mapped(options))
    factors = {name: _factor(name, unit) for name, unit in (options.units or {}).items()}
    for line, cells in table:
        absent = sorted(set(_mapped(options).values()) - set(cells))
        if absent:
            raise ConfigError(f"{log.name} has no column {', '.join(absent)}; it has {', '.join(cells)}")
        words = {name: cells[columns[name]] for name in WORDS if columns[name] in cells}
        figures = {
            METRICS[name].key: value * factors.get(name, 1.0)
            for name in METRICS
            if (value := files.number(cells.get(columns[name]), log.name, line, name=columns[name])) is not None
        }
        yield _row(log, line, words, figures, options)


def _mapped(options: SourceConfig) -> Mapping[str, str]:
    columns = options.columns or {}
    unknown = sorted(set(columns) - set(WORDS) - set(METRICS))
    if unknown:
        raise ConfigError(
            f"source.columns does not know {', '.join(unknown)}; it knows {', '.join((*WORDS, *METRICS))}"
        )
    return columns


def _factor(column: str, unit: str) -> float:
    if column not in METRICS:
        raise ConfigError(f"source.units: {column} is no metric; metrics are {', '.join(METRICS)}")
    known = FACTORS.get(METRICS[column].unit, {})
    if unit.lower() not in known:
        raise ConfigError(f"source.units.{column} must be one of {', '.join(known) or 'none'}, got '{unit}'")
    return known[unit.lower()]


def _row(
    log: Log, line: int, words: Mapping[str, str], figures: Mapping[str, float], options: SourceConfig
) -> Row | LeftOut:
    positive = {key: value for key, value in figures.items() if value > 0 or key == schema.MEMORY_LOW.key}
    if not {schema.LATENCY_P50.key, schema.MEMORY_PEAK.key} & set(positive):
        return LeftOut(log.name, str(line), "neither a latency nor a peak memory")
    said = {name: word for name, cell in words.items() if (word := files.word(cell, log.name, line))}
    job, date = said.pop("job_id", ""), _date(said.pop("date", ""), log, line)
    return logs.row_of(
        replace(log, date=date),
        logs.facts_of(options, log.path, said),
        row=str(line),
        defaults={"runtime": "unknown", "precision": "unknown"},
        metrics=positive,
        latency_statistic="unknown",
        memory_definition="unknown",
        tags={schema.JOB_ID.key: job} if job else {},
        provenance={"tool": "table"},
    )


def _date(text: str, log: Log, line: int) -> datetime:
    if not text:
        return log.date
    try:
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        files.fail(log.name, f"date '{text[:40]}' is not like 2026-01-31 or 2026-01-31T12:00:00Z", row=line)
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
