"""Read the two layouts of AI Hub's `perf.yaml` into the same jobs.

Since 0.28: `precisions: float: components: NAME: performance_metrics: DEVICE: RUNTIME:`, with
latency in ms, memory in whole MiB and `layer_counts`. Before: `models: - name:` with a list of
`performance_metrics`, latency in microseconds, memory in bytes and `layer_info`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from frm_mlflow.errors import ImportFileError
from frm_mlflow.importers import files, limits
from frm_mlflow.importers.contract import LeftOut

MIB = 2**20
COMPUTE_UNITS = ("npu", "gpu", "cpu")
RUNTIMES = {
    "torchscript_onnx_tflite": "tflite",
    "torchscript_onnx_qnn": "qnn",
    "torchscript_onnx_qnn_dlc": "qnn_dlc",
    "torchscript_onnx": "onnx",
    "torchscript_qnn": "qnn",
}
"""Runtimes by the older layout's compilation path, which ends in the runtime."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One profile job as AI Hub states it, in ms and MiB."""

    file: str
    row: str
    component: str
    is_component: bool
    """Whether it is part of a model (an encoder, a decoder) rather than a complete model."""
    device: str
    chip: str
    runtime: str
    precision: str
    job_id: str
    status: str
    latency_ms: float | None
    memory_min_mib: float | None
    memory_max_mib: float | None
    primary_unit: str
    layers: Mapping[str, int]
    tool_versions: Mapping[str, str]
    date: datetime
    generates_text: bool = False


def jobs(document: Any, file: str, *, date: datetime) -> Iterator[Job | LeftOut]:
    """Yield the jobs of a `perf.yaml` in either layout; `date` is the file's. A job that cannot be read is left out."""
    if not isinstance(document, dict):
        limits.fail(file, "is empty or no mapping")
    if isinstance(document.get("precisions"), dict):
        yield from _current(document["precisions"], file, date)
    elif "models" in document:
        yield from _older(document["models"], file, date)
    elif document:
        limits.fail(file, "has neither `precisions` nor `models`: a layout that is not known")


def _mapping(value: Any, file: str, row: str) -> Mapping[str, Any]:
    """Return a mapping, or an empty one for null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        limits.fail(file, f"expected a mapping, got {type(value).__name__}", row=row)
    return value


def _guarded(file: str, row: str, make: Callable[[], Job]) -> Job | LeftOut:
    try:
        return make()
    except ImportFileError as error:
        return LeftOut(file, row, error.problem, error)


def _current(precisions: Mapping[str, Any], file: str, date: datetime) -> Iterator[Job | LeftOut]:
    for precision, facts in precisions.items():
        components = _mapping(_mapping(facts, file, precision).get("components"), file, precision)
        for component, parts in components.items():
            devices = _mapping(_mapping(parts, file, component).get("performance_metrics"), file, component)
            for device, runtimes in devices.items():
                for runtime, job in _mapping(runtimes, file, device).items():
                    row = f"{precision}/{component}/{device}/{runtime}"
                    names = (component, device, runtime, precision)
                    is_component = len(components) > 1
                    yield _guarded(
                        file,
                        row[:300],
                        lambda j=job, n=names, c=is_component: _current_job(j, n, file, is_component=c, date=date),  # type: ignore[misc]
                    )


def _current_job(job: Any, names: tuple[Any, ...], file: str, *, is_component: bool, date: datetime) -> Job:
    component, device, runtime, precision = (files.word(name, file, str(names)[:300]) for name in names)
    row = f"{precision}/{component}/{device}/{runtime}"
    job = _mapping(job, file, row)
    memory = _mapping(job.get("estimated_peak_memory_range_mb"), file, row)
    return Job(
        file=file,
        row=row,
        component=component,
        is_component=is_component,
        device=device,
        chip="",
        runtime=runtime,
        precision=precision,
        job_id=_said(job.get("job_id")),
        status=_said(job.get("job_status")),
        latency_ms=files.number(job.get("inference_time_milliseconds"), file, row, name="inference_time_milliseconds"),
        memory_min_mib=files.number(memory.get("min"), file, row, name="memory min"),
        memory_max_mib=files.number(memory.get("max"), file, row, name="memory max"),
        primary_unit=_said(job.get("primary_compute_unit")).lower(),
        layers=_layers(_mapping(job.get("layer_counts"), file, row), "{}", file, row),
        tool_versions={tool: str(v) for tool, v in _mapping(job.get("tool_versions"), file, row).items() if v},
        date=date,
        generates_text="llm_metrics" in job and "inference_time_milliseconds" not in job,
    )


def _older(models: Any, file: str, date: datetime) -> Iterator[Job | LeftOut]:
    entries = models if isinstance(models, list) else []
    for model in entries:
        component = files.word(_mapping(model, file, "models").get("name", ""), file, "models")
        for index, group in enumerate(model.get("performance_metrics") or ()):
            where = f"{component}[{index}]"
            device = _mapping(_mapping(group, file, where).get("reference_device_info"), file, where)
            for path, job in group.items():
                if isinstance(job, dict) and "inference_time" in job:
                    facts = {
                        "file": file,
                        "component": component,
                        "is_component": len(entries) > 1,
                        "runtime": RUNTIMES.get(path, path),
                        "date": _date(group.get("timestamp")) or date,
                    }
                    yield _guarded(file, f"{where}/{path}", lambda j=job, d=device, f=facts: _older_job(j, d, **f))  # type: ignore[misc]


def _older_job(
    job: Mapping[str, Any],
    device: Mapping[str, Any],
    *,
    file: str,
    component: str,
    is_component: bool,
    runtime: str,
    date: datetime,
) -> Job:
    precision, name = _said(job.get("precision")), files.word(device.get("name", ""), file, component)
    row = f"{precision}/{component}/{name}/{runtime}"
    memory = _mapping(job.get("estimated_peak_memory_range"), file, row)
    microseconds = files.number(job.get("inference_time"), file, row, name="inference_time")
    return Job(
        file=file,
        row=row,
        component=component,
        is_component=is_component,
        device=name,
        chip=_said(device.get("chipset")),
        runtime=runtime,
        precision=precision,
        job_id=_said(job.get("job_id")),
        status=_said(job.get("job_status")),
        latency_ms=None if microseconds is None else microseconds / 1000,
        memory_min_mib=_mib(memory.get("min"), file, row),
        memory_max_mib=_mib(memory.get("max"), file, row),
        primary_unit=_said(job.get("primary_compute_unit")).lower(),
        layers=_layers(_mapping(job.get("layer_info"), file, row), "layers_on_{}", file, row),
        tool_versions={},
        date=date,
        generates_text=bool(job.get("llm_metrics")),
    )


def _layers(counts: Mapping[str, Any], key: str, file: str, row: str) -> dict[str, int]:
    names = {unit: key.format(unit) for unit in COMPUTE_UNITS}
    return {unit: int(files.number(counts.get(name), file, row, name=name) or 0) for unit, name in names.items()}


def _mib(value: object, file: str, row: str) -> float | None:
    size = files.number(value, file, row, name="memory in bytes")
    return None if size is None else size / MIB


def _said(value: object) -> str:
    """Return a word, "" for any of the source's spellings of null."""
    return "" if value is None or str(value).lower() in files.MISSING else str(value)


def _date(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")) if value else None
    except ValueError:
        return None
