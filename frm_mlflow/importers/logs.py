"""What importers of tools' logs share: one file is one benchmark, and much of it only the user knows.

A log of trtexec or benchmark_model names a model file at best, seldom the device. `source.given`
adds what is missing and corrects what is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.importers import files
from frm_mlflow.importers.contract import Row
from frm_mlflow.tool_output import NEEDED_SAMPLES

GIVEN = (
    "model",
    "device",
    "tier",
    "chip",
    "runtime",
    "runtime_version",
    "precision",
    "compute_unit",
    "batch_size",
    "input_size",
    "latency_statistic",
    "memory_definition",
)
"""What `source.given` may state."""


@dataclass(frozen=True, slots=True)
class Log:
    """One file of a tool: its name relative to the given path, text and time."""

    name: str
    path: Path
    text: str
    date: datetime

    @property
    def version(self) -> str:
        """The file's own version: a hash of its content."""
        return files.fingerprint(self.text)


def logs(path: Path, patterns: Sequence[str]) -> Iterator[Log]:
    """Yield the file at `path`, or every file below it that fits one of `patterns`, in order of their names."""
    if path.is_file():
        yield Log(path.name, path, files.read_text(path), files.modified(path))
        return
    found = {file for pattern in patterns for file in path.rglob(pattern) if file.is_file() and not file.is_symlink()}
    for file in sorted(found):
        name = file.relative_to(path).as_posix()
        yield Log(name, file, files.read_text(file, shown=name), files.modified(file))


def facts_of(options: SourceConfig, path: Path, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a row: what the file states, under what the user gives.

    In a given word `{stem}` stands for the file's name without its ending, `{parent}` for its
    folder's: `model={stem}` reads a folder of one log a model.

    Raises
    ------
    ConfigError
        Where a given fact is not one, or model or device is neither stated nor given.
    """
    unknown = sorted(set(options.given) - set(GIVEN))
    if unknown:
        raise ConfigError(f"source.given knows {', '.join(GIVEN)}; not {', '.join(unknown)}")
    names = {"{stem}": path.stem, "{parent}": path.parent.name}
    given = {key: _filled_in(value, names) for key, value in options.given.items() if value is not None}
    facts = {key: value for key, value in stated.items() if value not in (None, "")} | given
    for key in ("model", "device"):
        if not facts.get(key):
            raise ConfigError(f"{path.name} does not say which {key} was measured: set source.given.{key}=NAME")
    return facts


def _filled_in(value: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    for placeholder, name in names.items():
        value = value.replace(placeholder, name)
    return value


def row_of(log: Log, facts: Mapping[str, Any], *, row: str = "1", defaults: Mapping[str, Any], **figures: Any) -> Row:
    """Return the row of a log from its facts, the tool's defaults and its figures (`metrics`, `provenance`, ...)."""
    words = dict(defaults) | figures | dict(facts)
    for key in ("batch_size", "input_size"):
        if words.get(key) is not None:
            words[key] = files.whole(words[key], log.name, row, name=key)
    for key in set(GIVEN) - {"batch_size", "input_size"}:
        if key in words:
            words[key] = files.word(words[key], log.name, row)
    return Row(file=log.name, row=row, version=log.version, date=log.date, **words)


def summary(samples_ms: Sequence[float]) -> dict[str, float]:
    """Return median, mean, count and those percentiles for which there are samples enough."""
    values = np.asarray(samples_ms, dtype=float)
    metrics = {
        schema.LATENCY_P50.key: float(np.median(values)),
        schema.LATENCY_MEAN.key: float(values.mean()),
        schema.LATENCY_SAMPLES.key: float(values.size),
    }
    for metric, (percentile, needed) in NEEDED_SAMPLES.items():
        if values.size >= needed:
            metrics[metric.key] = float(np.percentile(values, percentile))
    return metrics


def model_in(path_text: str) -> str:
    """Return the model's name in the path of a model file: `/models/resnet50.onnx` is resnet50."""
    name = re.split(r"[/\\]", path_text.strip())[-1]
    return re.sub(r"\.(onnx|ort|engine|plan|trt|tflite|pte)$", "", name, flags=re.IGNORECASE)
