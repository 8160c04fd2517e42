"""Turn a source's row into a benchmark record: make names canonical, fill in missing facts and mark them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.devices import catalogue as devices
from frm_mlflow.devices.catalogue import DeviceFacts
from frm_mlflow.errors import DataError
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.records import BenchmarkRecord, Configuration, content_hash
from frm_mlflow.zoo import aliases
from frm_mlflow.zoo.aliases import ModelIdentity

RUNTIMES: Mapping[str, str] = MappingProxyType(
    {
        "onnx": "onnxruntime",
        "onnx_runtime": "onnxruntime",
        "ort": "onnxruntime",
        "pytorch": "torch",
        "tensor_rt": "tensorrt",
        "tflite": "litert",
        "tensorflow_lite": "litert",
        "trt": "tensorrt",
    }
)
"""Other names (lower case, underscores) for runtimes that we measure under one name."""

PRECISIONS: Mapping[str, str] = MappingProxyType(
    {
        "bfloat16": "bf16",
        "float16": "fp16",
        "float32": "fp32",
        "half": "fp16",
        "w8a8": "int8",
    }
)
"""Other names for precisions; `w8a16` and mixed precisions have none and stay as they are."""


NAMES = ("model", "device", "runtime", "precision", "compute_unit", "chip", "runtime_version", "latency_statistic")
MAX_NAME = 500


@dataclass
class Unknown:
    """Names that are in no catalogue, with the number of rows that use them."""

    models: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)


def record_of(row: Row, options: SourceConfig, unknown: Unknown) -> BenchmarkRecord | LeftOut:
    """Return the record of a row; a row that fails a check is left out with the reason.

    Rows of every importer pass through this function, and the record itself checks its numbers.
    """
    row = _with_missing_as_missing(row)
    device = devices.find((options.devices or {}).get(row.device, row.device))
    model = aliases.identify(row.model, source=options.name, own=options.models or {})
    tier = row.tier or (device.tier if device else row.assumed_tier)
    problem = _problem(row, tier)
    if problem:
        return LeftOut(row.file, row.row, problem)
    try:
        record = _record(row, options, device, tier, model)
    except DataError as error:
        return LeftOut(row.file, row.row, str(error))
    if device is None:
        unknown.devices[row.device] += 1
    if not model.known:
        unknown.models[row.model] += 1
    return record


def _with_missing_as_missing(row: Row) -> Row:
    """Replace None: "" for text, `unknown` for runtime and precision, a batch size of 1, and no entry for a metric."""
    empty: dict[str, Any] = {
        item.name: "" for item in fields(row) if item.type == "str" and getattr(row, item.name) is None
    }
    empty |= {name: "unknown" for name in ("runtime", "precision") if not getattr(row, name)}
    metrics = {key: value for key, value in row.metrics.items() if value is not None}
    batch_size = 1 if row.batch_size is None else row.batch_size
    return replace(row, metrics=metrics, batch_size=batch_size, **empty)


def _problem(row: Row, tier: str) -> str:
    """Return why a row cannot become a record, or "" if it can."""
    if not row.model or not row.device:
        return "names no model" if not row.model else "names no device"
    for name in NAMES:
        word = str(getattr(row, name))
        if len(word) > MAX_NAME or not word.isprintable():
            return f"{name} is longer than {MAX_NAME} characters or holds control characters: '{word[:40]!a}'"
    if tier in schema.TIERS:
        return ""
    if tier:
        return f"tier is '{tier}', not one of {', '.join(schema.TIERS)}"
    return f"tier of device '{row.device}' unknown: set source.given.tier to gpu|cpu|edge"


def _record(
    row: Row, options: SourceConfig, device: DeviceFacts | None, tier: str, model: ModelIdentity
) -> BenchmarkRecord:
    metrics, sources = _filled(row, model, options.name)
    return BenchmarkRecord(
        model=model.name,
        family=model.family,
        configuration=_configuration(row, device, tier, model),
        metrics=metrics,
        source=f"imported:{options.name}",
        identity={"file": row.file, "row": row.row, "version": row.version},
        start_time=row.date,
        end_time=row.date,
        tags=_tags(row, device, options) | sources | dict(row.tags),
    )


def _configuration(row: Row, device: DeviceFacts | None, tier: str, model: ModelIdentity) -> Configuration:
    chip = row.chip or (device.chip if device else "")
    native = aliases.published().get(model.name)
    own_size = native is None or row.input_size in (None, native.input_size)
    runtime = row.runtime.lower().replace(" ", "_").replace("-", "_")
    return Configuration(
        device=device.name if device else row.device,
        tier=tier,
        runtime=RUNTIMES.get(runtime, row.runtime),
        precision=PRECISIONS.get(row.precision.lower(), row.precision),
        batch_size=row.batch_size,
        compute_unit=row.compute_unit,
        chip=devices.chip_name(chip) if chip else "",
        runtime_version=row.runtime_version,
        resolution="native" if own_size else str(row.input_size),
    )


def _tags(row: Row, device: DeviceFacts | None, options: SourceConfig) -> dict[str, str]:
    provenance: dict[str, object] = {
        "file": row.file,
        "row": row.row,
        "version": row.version,
        "date": row.date.isoformat(),
    }
    provenance |= {"model": row.model, "device": row.device} | dict(row.provenance)
    tags = {
        schema.LATENCY_STATISTIC.key: row.latency_statistic,
        schema.MEMORY_DEFINITION.key: row.memory_definition if schema.MEMORY_PEAK.key in row.metrics else "",
        schema.INPUT_SIZE.key: str(row.input_size or ""),
        schema.GENERATION.key: device.generation if device else "",
        schema.FORM_FACTOR.key: device.form_factor if device else "",
        schema.SOURCE_VERSION.key: row.version,
        schema.SERIES.key: content_hash([options.name, row.series or f"{row.file}:{row.row}"]),
        schema.PROVENANCE.key: json.dumps(provenance, sort_keys=True, ensure_ascii=False),
    }
    return {key: value for key, value in tags.items() if value}


def _filled(row: Row, model: ModelIdentity, source: str) -> tuple[dict[str, float], dict[str, str]]:
    """Return the row's metrics, with published facts for those that the source lacks, and tags that mark them.

    GMACs and accuracy are valid for one input size only; for any other they stay missing.
    """
    metrics = dict(row.metrics)
    tags = {schema.FLOPS_SOURCE.key: f"imported:{source}"} if schema.GMACS.key in metrics else {}
    facts = aliases.published().get(model.name)
    if facts is not None:
        same_size = row.input_size in (None, facts.input_size)
        if schema.GMACS.key not in metrics and facts.gmacs is not None and same_size:
            metrics[schema.GMACS.key] = facts.gmacs
            tags[schema.FLOPS_SOURCE.key] = facts.flops_source
        if facts.params_m is not None:
            metrics.setdefault(schema.PARAMS_M.key, facts.params_m)
        if schema.TOP1.key not in metrics and facts.top1 is not None and same_size:
            metrics[schema.TOP1.key] = facts.top1
            tags[schema.ACCURACY_SOURCE.key] = f"catalogue: {facts.accuracy_source}"
            if facts.top5 is not None:
                metrics.setdefault(schema.TOP5.key, facts.top5)
    if schema.GMACS.key in metrics:
        tags[schema.FLOPS_CONVENTION.key] = schema.MACS
    return metrics, tags
