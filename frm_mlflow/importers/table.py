"""Import any CSV or parquet table: columns have our names or common ones, or are mapped in `source.columns`.

Figures may be in other units, which the column's name (`latency_us`, `Memory (MB)`) or `source.units`
states. Facts that apply to the whole table go in `source.given`. A row needs a model, a
device, and a latency, a peak memory or a throughput.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.importers import files, limits, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import GIVEN, Log
from frm_mlflow.near import did_you_mean, near_names

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
        "1/s": {"1/s": 1.0},
    }
)
"""For each of our units, the factors that convert other units; two FLOPs are one multiply-accumulate."""
SPELLINGS: Mapping[str, str] = MappingProxyType(
    {"µs": "us", "μs": "us", "sec": "s", "secs": "s", "seconds": "s", "msec": "ms", "milliseconds": "ms",
     "microseconds": "us", "nanoseconds": "ns", "byte": "bytes", "macs": "mac", "mmacs": "mmac", "gmacs": "gmac",
     "flops": "flop", "mflops": "mflop", "gflops": "gflop", "%": "percent", "pct": "percent"}
)  # fmt: skip
_OTHER_NAMES = {
    "latency_ms": "latency median_latency latency_median p50 p50_latency latency_p50 inference_time inference_latency",
    "memory_mib": "memory peak_memory memory_peak max_memory",
    "params_m": "params parameters param_count",
    "top1": "top1 top_1 top1_accuracy top_1_accuracy acc1",
    "model": "model_name network net architecture",
    "device": "device_name",
    "batch_size": "batch batchsize bs",
}
USUAL_NAMES = MappingProxyType({theirs: ours for ours, names in _OTHER_NAMES.items() for theirs in names.split()})
"""Our column for each common name (lower case, without unit); a metric needs its unit in the column's name."""
THROUGHPUTS = re.compile(
    r"(?:throughput_)?(?:fps|ips|(?:infer_)?(?:images?|imgs?|samples?|inferences|items|frames)(?:_per)?_(?:s|secs?|seconds?))"
    r"|throughput"
)
"""Columns that count inferences per second, without case and punctuation."""
ACCURACIES = frozenset(column for column, metric in METRICS.items() if metric.unit == "%" and column != "top1_drop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The meaning of each column of a table, and the factor for its figures."""

    words: Mapping[str, str]
    metrics: Mapping[str, str]
    factors: Mapping[str, float]
    has_unit: frozenset[str]
    """Those of our columns whose unit the user or the table states."""


def read_csv(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield the rows of a CSV table (or of every one below a folder)."""
    _check_settings(options)
    return logs.each(path, ("*.csv", "*.tsv"), lambda log: _rows(log, logs.table(log), options))


def read_parquet(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield the rows of a parquet table."""
    _check_settings(options)
    with limits.expected_layout(path.name):
        rows, version = files.read_parquet(path)
        log = Log(path.name, path, version, files.modified(path))
        yield from _rows(log, ((n, _as_text(row)) for n, row in enumerate(rows, start=1)), options)


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): "" if value is None else str(value)[:1000] for name, value in row.items()}


def _rows(
    log: Log, table: Iterable[tuple[int, files.Cells | LeftOut]], options: SourceConfig
) -> Iterator[Row | LeftOut]:
    columns: Columns | None = None
    for line, cells in table:
        if isinstance(cells, LeftOut):
            yield cells
            continue
        if columns is None:
            columns = columns_of(list(cells), log.name, options)
        yield logs.guarded(log.name, str(line), lambda n=line, c=cells, k=columns: _row(log, n, c, k, options))  # type: ignore[misc]


# --- columns ---------------------------------------------------------------------------------


def columns_of(header: list[str], file: str, options: SourceConfig) -> Columns:
    """Return the meaning of each column of a table.

    Raises
    ------
    ConfigError
        If `source.columns` names a column that the table does not have.
    ImportFileError
        If no column has a latency, a memory or a throughput; lists the columns and the most similar names.
    """
    mapped = options.columns or {}
    absent = sorted({theirs for theirs in mapped.values() if theirs} - set(header))
    if absent:
        raise ConfigError(f"{file} has no column {', '.join(absent)}; it has {', '.join(header)[:500]}")
    usual, units = _usual_columns(header, mapped)
    same = {name: name for name in header if name in WORDS or name in METRICS}
    columns = {ours: theirs for ours, theirs in {**usual, **same, **mapped}.items() if theirs}
    metrics = {ours: theirs for ours, theirs in columns.items() if ours in METRICS}
    if not {"latency_ms", "memory_mib", "throughput_items_per_s"} & set(metrics):
        limits.fail(file, _no_figures(header), row=1)
    stated = {name: _factor(name, unit) for name, unit in (options.units or {}).items()}
    return Columns(
        words={name: theirs for name, theirs in columns.items() if name in WORDS},
        metrics=metrics,
        factors={name: factor for name, factor in units.items() if metrics.get(name) == usual.get(name)} | stated,
        has_unit=frozenset(units) | frozenset(stated),
    )


def _usual_columns(header: list[str], mapped: Mapping[str, str | None]) -> tuple[dict[str, str], dict[str, float]]:
    """Return the table's column for each of ours with a common name, and the factors of the units in those names."""
    usual: dict[str, str] = {}
    factors: dict[str, float] = {}
    taken = set(mapped.values())
    for name in header:
        if name in taken:
            continue
        ours, unit = _meaning(name)
        if not ours or ours in usual or ours in header or ours in mapped:
            continue
        if ours in METRICS and ours != "throughput_items_per_s":
            factor = FACTORS.get(METRICS[ours].unit, {}).get(unit)
            if factor is None and ours not in ACCURACIES:
                continue
            if factor is not None:
                factors[ours] = factor
        usual[ours] = name
    return usual, factors


def _meaning(name: str) -> tuple[str, str]:
    """Return our column, and the unit stated in a column's name.

    >>> _meaning("Latency (us)"), _meaning("Peak Memory [MB]"), _meaning("Images/s"), _meaning("latency")
    (('latency_ms', 'us'), ('memory_mib', 'mb'), ('throughput_items_per_s', ''), ('latency_ms', ''))
    """
    text = re.sub(r"[^\w%µμ]+", "_", name.lower()).strip("_")
    if THROUGHPUTS.fullmatch(text):
        return "throughput_items_per_s", ""
    if text in WORDS or text in METRICS:
        unit = text.rpartition("_")[2]
        return text, unit if unit in FACTORS.get(METRICS[text].unit if text in METRICS else "", {}) else ""
    base, _, last = text.rpartition("_")
    unit = SPELLINGS.get(last, last)
    if base in USUAL_NAMES and any(unit in units for units in FACTORS.values()):
        return USUAL_NAMES[base], unit
    return USUAL_NAMES.get(text, ""), ""


def _no_figures(header: list[str]) -> str:
    """Return the error text for a table without figures: its columns, and the most similar supported names."""
    near = []
    for theirs in header[:40]:
        ours = _meaning(theirs)[0]
        if ours in METRICS:
            example = {"ms": "ms", "MiB": "mb"}.get(METRICS[ours].unit, "")
            near.append(
                f"'{theirs[:40]}' may be {ours} but has no unit: set source.columns={{{ours}: {theirs[:40]}}} "
                f"source.units={{{ours}: {example or 'UNIT'}}}"
            )
            continue
        similar = near_names(theirs, (*METRICS, *WORDS))
        if similar and similar[0] != theirs:
            near.append(f"'{theirs[:40]}' is similar to {similar[0]}")
    columns = ", ".join(f"'{name[:40]}'" for name in header[:40])
    return (
        "has no column for a latency, a peak memory or a throughput (latency_ms, memory_mib, FPS, ...); "
        f"its columns are {columns}" + (f"; {'; '.join(near[:5])}" if near else "")
    )


def _check_settings(options: SourceConfig) -> None:
    unknown = sorted(set(options.columns or {}) - set(WORDS) - set(METRICS))
    if unknown:
        names = (*WORDS, *METRICS)
        raise ConfigError(
            f"source.columns has unsupported names: {', '.join(unknown)}.{did_you_mean(unknown[0], names)} "
            f"Supported: {', '.join(names)}"
        )
    for name, unit in (options.units or {}).items():
        _factor(name, unit)


def _factor(column: str, unit: str) -> float:
    if column not in METRICS:
        raise ConfigError(f"source.units: {column} is not a metric; metrics are {', '.join(METRICS)}")
    units = FACTORS.get(METRICS[column].unit, {})
    name = SPELLINGS.get(unit.lower(), unit.lower())
    if name not in units:
        raise ConfigError(f"source.units.{column} must be one of {', '.join(units) or 'none'}, got '{unit}'")
    return units[name]


# --- rows ------------------------------------------------------------------------------------


def _row(log: Log, line: int, cells: Mapping[str, str], columns: Columns, options: SourceConfig) -> Row | LeftOut:
    figures = {
        METRICS[name].key: value
        for name, theirs in columns.metrics.items()
        if (value := _figure(cells[theirs], log.name, line, name, theirs, columns)) is not None
    }
    if not any(figures.get(key) for key in (schema.LATENCY_P50.key, schema.MEMORY_PEAK.key, schema.THROUGHPUT.key)):
        return LeftOut(log.name, str(line), "neither a latency nor a peak memory nor a throughput")
    stated = {
        name: word for name, theirs in columns.words.items() if (word := files.word(cells[theirs], log.name, line))
    }
    for name in ("batch_size", "input_size"):
        if name in stated and stated[name].lower() in files.MISSING:
            del stated[name]
    job, date = stated.pop("job_id", ""), _date(stated.pop("date", ""), log, line)
    return logs.row_of(
        replace(log, date=date),
        logs.facts_of(options, log.path, stated),
        row=str(line),
        defaults={"runtime": "unknown", "precision": "unknown"},
        metrics={key: value for key, value in figures.items() if value != 0 or key not in _NEVER_ZERO},
        latency_statistic="unknown" if schema.LATENCY_P50.key in figures else "none",
        memory_definition="unknown",
        tags={schema.JOB_ID.key: job} if job else {},
        provenance={"tool": "table"},
    )


_NEVER_ZERO = frozenset(
    metric.key for metric in schema.METRICS if metric.unit in ("ms", "MiB", "GMAC", "1e6", "1/s", "mJ")
) - {schema.MEMORY_LOW.key}
"""Columns in which zero means that the figure was not measured."""


def _figure(cell: str, file: str, line: int, name: str, theirs: str, columns: Columns) -> float | None:
    is_accuracy = name in ACCURACIES
    text = cell.strip()
    in_percent = is_accuracy and text.endswith("%")
    value = files.number(text.removesuffix("%") if in_percent else text, file, line, name=theirs)
    if value is None or in_percent:
        return value
    if is_accuracy and name not in columns.has_unit and 0 < value <= 1:
        limits.fail(
            file,
            f"{theirs} is {value:g}, which can be {100 * value:g} % or {value:g} %: "
            f"set source.units={{{name}: fraction}} or source.units={{{name}: percent}}",
            row=line,
        )
    return value * columns.factors.get(name, 1.0)


def _date(text: str, log: Log, line: int) -> datetime:
    if not text or text.lower() in files.MISSING:
        return log.date
    try:
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        limits.fail(
            log.name,
            f"date '{text[:40]}' is not like 2026-01-31 or 2026-01-31T12:00:00Z; "
            "write it so, or ignore the column with source.columns={date: null}",
            row=line,
        )
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
