"""The record of one benchmark: what measuring and importing produce and what tracking logs.

It imports only the standard library, so that the pure core, importers and runners share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import MappingProxyType

from frm_mlflow import schema
from frm_mlflow.errors import DataError


def content_hash(content: object) -> str:
    """First 16 hex digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Device x runtime x precision x batch size x compute unit: where a model is benchmarked."""

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
        if self.batch_size < 1:
            raise DataError(f"batch_size must be at least 1, got {self.batch_size}")

    def tags(self) -> dict[str, str]:
        """Return the configuration as MLflow tags; empty facts are left out."""
        values = asdict(self)
        keys = (*schema.CONFIGURATION_TAGS, schema.TIER)
        return {tag.key: str(values[tag.column]) for tag in keys if values[tag.column] != ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRecord:
    """One model on one configuration, with its metrics and where they come from.

    `metrics` is keyed by `schema.Metric.key`; a metric that was not measured is absent, never
    zero. `tags` holds further `schema.Tag` keys (provenance, accuracy source, ...). `identity`
    are the facts that make the benchmark the same one when it is logged again: for an import
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
            raise DataError(f"keys that schema.py does not know: {', '.join(unknown)}")

    @property
    def record_id(self) -> str:
        """Stable content hash: two records with the same id are the same benchmark."""
        return content_hash(
            {"model": self.model, "configuration": asdict(self.configuration), "source": self.source}
            | {"identity": dict(self.identity)}
        )

    @property
    def name(self) -> str:
        """Run name: `model · device · runtime · precision`."""
        c = self.configuration
        return f"{self.model} · {c.device} · {c.runtime} · {c.precision}"

    def all_tags(self) -> dict[str, str]:
        """All `frm.*` tags of the run that logs this record."""
        own = {
            schema.KIND.key: schema.KIND_BENCHMARK,
            schema.SCHEMA.key: str(schema.SCHEMA_VERSION),
            schema.MODEL.key: self.model,
            schema.FAMILY.key: self.family,
            schema.SOURCE.key: self.source,
            schema.RECORD_ID.key: self.record_id,
        }
        if self.baseline:
            own[schema.BASELINE.key] = self.baseline
        return own | self.configuration.tags() | dict(self.tags)
