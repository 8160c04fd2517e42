"""The record of one benchmark: produced by measuring and importing, and logged by tracking.

This module imports only the standard library, so that the pure core, importers and runners can share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from numbers import Real
from types import MappingProxyType

from frm_mlflow import schema
from frm_mlflow.errors import DataError

MS_PER_DAY = 86_400_000.0
MAX_BATCH_SIZE = 999_999
YEARS = range(1990, 2100)
TINY = 5e-324
"""The smallest positive number: a range that starts with it excludes zero."""
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "ms": (1e-6, MS_PER_DAY),
        "MiB": (0.0, 100 * 2.0**20),
        "GMAC": (0.0, 1e9),
        "1e6": (0.0, 1e9),
        "mJ": (TINY, 1e12),
        "%": (0.0, 100.0),
        "1/s": (TINY, 1e12),
        "s": (0.0, 1e11),
        "1": (-1e15, 1e15),
    }
)
"""Unit to plausible range: latency from 1 ns to 1 day, memory up to 100 TiB, accuracy within its unit."""
OTHER_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        schema.LATENCY_P50_LOW.key: (0.0, MS_PER_DAY),
        schema.LATENCY_P50_HIGH.key: (1e-6, 1e12),
        schema.LATENCY_CPU_P50.key: (0.0, MS_PER_DAY),
        schema.GMACS.key: (TINY, 1e9),
        schema.TOP1_DROP.key: (-100.0, 100.0),
        schema.IDENTITY_COSINE.key: (-1.01, 1.01),
        schema.LATENCY_SAMPLES.key: (1.0, 1e15),
        schema.FRM.key: (0.0, 1e15),
        schema.FRM_E.key: (0.0, 1e15),
        schema.RATIO_LATENCY.key: (TINY, 1e15),
    }
)
"""Metrics whose range differs from that of their unit: interval ends, differences, counts, costs."""
MAIN_METRICS = (schema.LATENCY_P50, schema.MEMORY_PEAK, schema.THROUGHPUT)
"""A benchmark without any of these measured nothing."""


class ImplausibleError(DataError):
    """A record contains a number that cannot be true; the message names it and the accepted range."""


def implausible(metrics: Mapping[str, object]) -> Iterator[str]:
    """Yield a sentence for each metric that is not a finite number in its plausible range."""
    for key, value in metrics.items():
        metric = schema.METRIC_BY_KEY[key]
        if isinstance(value, bool) or not isinstance(value, int | float | Real):
            yield f"{metric.column} is {value!r:.40}, not a number"
            continue
        low, high = OTHER_RANGES.get(key, RANGES[metric.unit])
        number = float(value)
        if not low <= number <= high:
            yield f"{metric.column} = {number:g} is not plausible: {_range_text(low, high, metric.unit)}"


def _range_text(low: float, high: float, unit: str) -> str:
    if (low, high) == RANGES["ms"]:
        return "a latency is between 1 ns and 1 day"
    if (low, high) == RANGES["MiB"]:
        return "memory is at most 100 TiB, and not negative"
    unit = {"1": "", "1e6": "million"}.get(unit, unit)
    lowest = "above 0" if low == TINY else f"at least {low:g}"
    return f"{lowest} and at most {high:g} {unit}".strip()


def content_hash(content: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Device x runtime x precision x batch size x compute unit: how and on what a model is benchmarked."""

    device: str
    tier: str
    runtime: str
    precision: str
    batch_size: int = 1
    compute_unit: str = "cpu"
    chip: str = ""
    runtime_version: str = ""
    resolution: str = "native"

    def __post_init__(self) -> None:
        if self.tier not in schema.TIERS:
            raise DataError(f"tier must be one of {', '.join(schema.TIERS)}, got '{self.tier}' for '{self.device}'")
        if type(self.batch_size) is not int or not 1 <= self.batch_size <= MAX_BATCH_SIZE:
            raise ImplausibleError(
                f"batch_size must be a whole number from 1 to {MAX_BATCH_SIZE:,}, got {self.batch_size!r:.40}"
            )

    def tags(self) -> dict[str, str]:
        """Return the configuration as MLflow tags; empty facts are left out."""
        values = asdict(self)
        keys = (*schema.CONFIGURATION_TAGS, schema.TIER)
        return {tag.key: str(values[tag.column]) for tag in keys if values[tag.column] != ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRecord:
    """One model on one configuration, with its metrics and their origin.

    `metrics` is keyed by `schema.Metric.key`; a metric that was not measured is absent, never
    zero. `tags` holds further `schema.Tag` keys (provenance, accuracy source, ...). `identity`
    contains the facts that identify the benchmark when it is logged again: for an import
    the source's file and row, for a measurement its unique id.
    """

    model: str
    family: str
    configuration: Configuration
    metrics: Mapping[str, float]
    source: str
    identity: Mapping[str, object]
    start_time: datetime
    end_time: datetime
    baseline: str = ""
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        unknown = sorted(set(self.metrics) - set(schema.METRIC_BY_KEY))
        unknown += sorted(set(self.tags) - set(schema.TAG_BY_KEY))
        if unknown:
            raise DataError(f"keys that are not in schema.py: {', '.join(unknown)}")
        problems = [*implausible(self.metrics), *self._other_problems()]
        if problems:
            raise ImplausibleError("; ".join(problems))

    def _other_problems(self) -> Iterator[str]:
        main = MAIN_METRICS[:1] if self.source == schema.SOURCE_MEASURED else MAIN_METRICS
        if not any(self.metrics.get(metric.key) for metric in main):
            yield f"no {' or '.join(metric.column for metric in main)}"
        for time in dict.fromkeys((self.start_time, self.end_time)):
            if time.year not in YEARS:
                yield f"date {time.isoformat()} is not between {YEARS.start} and {YEARS.stop}"

    @property
    def record_id(self) -> str:
        """Stable content hash: two records with the same id are the same benchmark."""
        return content_hash(
            {"model": self.model, "configuration": asdict(self.configuration), "source": self.source}
            | {"identity": dict(self.identity)}
        )

    @property
    def name(self) -> str:
        """Run name: `model · device · runtime · precision`, with batch size and input size if they are unusual."""
        c = self.configuration
        words = [self.model, c.device, c.runtime, c.precision]
        if c.batch_size != 1:
            words.append(f"batch {c.batch_size}")
        if c.resolution != "native":
            words.append(c.resolution)
        return " · ".join(words)

    def all_tags(self) -> dict[str, str]:
        """All `frm.*` tags of the run that logs this record."""
        tags = {
            schema.KIND.key: schema.KIND_BENCHMARK,
            schema.SCHEMA.key: str(schema.SCHEMA_VERSION),
            schema.MODEL.key: self.model,
            schema.FAMILY.key: self.family,
            schema.SOURCE.key: self.source,
            schema.RECORD_ID.key: self.record_id,
        }
        if self.baseline:
            tags[schema.BASELINE.key] = self.baseline
        return tags | self.configuration.tags() | dict(self.tags)
