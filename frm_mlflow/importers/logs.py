"""Code shared by the importers of tools' logs: which files are read, and facts that only the user can give.

A log of trtexec or benchmark_model names at best a model file, and rarely the device. `source.given`
adds missing facts and overrides stated ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError, ImportFileError, MissingFactError
from frm_mlflow.importers import files, limits
from frm_mlflow.importers.contract import LeftOut, Row

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
"""Facts that `source.given` may set."""
LINE = 4096
"""Number of characters of each log line that are searched for figures."""
_COLOUR = re.compile("\x1b\\[[0-9;]{0,20}m")


@dataclass(frozen=True, slots=True)
class Log:
    """One file of a tool: its name relative to the given path, its text and its time."""

    name: str
    path: Path
    text: str
    date: datetime

    @property
    def version(self) -> str:
        """The file's own version: a hash of its content."""
        return files.fingerprint(self.text)

    def lines(self) -> list[str]:
        """Return the lines, without colour codes and cut to `LINE` characters: figures are near their start."""
        return [_COLOUR.sub("", line[:LINE]) for line in files.lines_of(self.text, self.name)]


ReadOne = Callable[[Log], Iterable[Row | LeftOut]]


def each(path: Path, patterns: Sequence[str], read_one: ReadOne) -> Iterator[Row | LeftOut]:
    """Yield the results of `read_one` for the file at `path`, or for every file below it that matches a pattern.

    A file that cannot be read, or that does not state its model or device, is left out with the reason.
    The others are still read.
    """
    for name in _names(path, patterns):
        try:
            with limits.expected_layout(name):
                yield from read_one(_log(path, name))
        except ImportFileError as error:
            yield LeftOut(name, error.row or "*", error.problem, error)
        except MissingFactError as error:
            yield LeftOut(name, "*", str(error).removeprefix(f"{Path(name).name} "), error)


def guarded(file: str, row: str, make: Callable[[], Row | LeftOut]) -> Row | LeftOut:
    """Return the row that `make` returns, or a `LeftOut` with the reason why it cannot be read."""
    try:
        return make()
    except ImportFileError as error:
        return LeftOut(file, row, error.problem, error)
    except MissingFactError as error:
        return LeftOut(file, row, str(error), error)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        problem = f"is not laid out as its format is ({type(error).__name__}: {str(error)[:200]})"
        return LeftOut(file, row, problem, ImportFileError(problem, file=file, row=row))


def table(log: Log) -> Iterator[tuple[int, files.Cells | LeftOut]]:
    """Yield (row number, cells) of a CSV; a row whose length differs from the header's is left out."""
    refused: list[LeftOut] = []

    def refuse(row: int, problem: str) -> None:
        refused.append(LeftOut(log.name, str(row), problem, ImportFileError(problem, file=log.name, row=str(row))))

    for line, cells in files.read_csv(log.text, log.name, row_failed=refuse):
        yield from ((int(item.row), item) for item in refused)
        refused.clear()
        yield line, cells
    yield from ((int(item.row), item) for item in refused)


def _names(path: Path, patterns: Sequence[str]) -> Iterator[str]:
    if not path.is_dir():
        yield path.name
        return
    for name in files.below(path):
        if any(PurePosixPath(name).match(pattern) for pattern in patterns):
            yield name


def _log(path: Path, name: str) -> Log:
    file = path / name if path.is_dir() else path
    return Log(name, file, files.read_text(file, shown=name), files.modified(file))


def facts_of(
    options: SourceConfig, path: Path, stated: Mapping[str, Any], *, folder: Path | None = None
) -> dict[str, Any]:
    """Return the facts of a row: those that the file states, overridden by those that the user gives.

    In a given value, `{stem}` is the file's name without its extension, `{parent}` for its
    folder's, `{parent2}`, `{parent3}`, ... for those above: `model={stem}` reads a folder with one log per model.
    `folder` is what `{parent}` names if it is not the file's own folder.

    Raises
    ------
    ConfigError
        If a key of `source.given` is not a fact.
    MissingFactError
        If the model or device is neither stated nor given.
    """
    unknown = sorted(set(options.given) - set(GIVEN))
    if unknown:
        raise ConfigError(f"source.given accepts {', '.join(GIVEN)}; not {', '.join(unknown)}")
    names = {"{stem}": path.stem} | _parents(folder or path.absolute().parent)
    given = {key: _filled_in(value, names) for key, value in options.given.items() if value is not None}
    facts = {key: value for key, value in stated.items() if value not in (None, "")} | given
    for key in ("model", "device"):
        if not facts.get(key):
            raise MissingFactError(f"{path.name} does not say which {key} was measured: set source.given.{key}=NAME")
    return facts


def _parents(folder: Path) -> dict[str, str]:
    parts = list(reversed(folder.parts))
    return {f"{{parent{'' if n == 1 else n}}}": name for n, name in enumerate(parts[:9], start=1)}


def _filled_in(value: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return re.sub(r"\{(?:stem|parent\d?)\}", lambda found: names.get(found[0], found[0]), value)


def row_of(log: Log, facts: Mapping[str, Any], *, row: str = "1", defaults: Mapping[str, Any], **figures: Any) -> Row:
    """Return the row of a log from its facts, the tool's defaults and its figures (`metrics`, `provenance`, ...)."""
    words = dict(defaults) | figures | dict(facts)
    for key in ("batch_size", "input_size"):
        if key in words:
            words[key] = files.whole(words[key], log.name, row, name=key)
    for key in set(GIVEN) - {"batch_size", "input_size"}:
        if key in words:
            words[key] = files.word(words[key], log.name, row)
    return Row(file=log.name, row=row, version=log.version, date=log.date, **words)


def summary(samples_ms: Sequence[float]) -> dict[str, float]:
    """Return median, mean, count and the percentiles for which there are enough samples; empty without samples."""
    if not samples_ms:
        return {}
    values = np.asarray(samples_ms, dtype=float)
    metrics = {
        schema.LATENCY_P50.key: float(np.median(values)),
        schema.LATENCY_MEAN.key: float(values.mean()),
        schema.LATENCY_SAMPLES.key: float(values.size),
    }
    for quantile, metric in schema.TAIL_LATENCIES.items():
        if values.size >= schema.min_samples(quantile):
            metrics[metric.key] = float(np.quantile(values, quantile))
    return metrics


def model_in(path_text: str) -> str:
    """Return the model's name from the path of a model file.

    >>> model_in("/data/My Models/resnet50.onnx"), model_in("a.engine"), model_in("")
    ('resnet50', 'a', '')
    """
    name = re.split(r"[/\\]", path_text.strip().strip("\"'"))[-1]
    return re.sub(r"\.(onnx|ort|engine|plan|trt|tflite|pte|uff|prototxt)$", "", name, flags=re.IGNORECASE)


def option(command: str, name: str) -> str:
    """Return the value of `--name=value` in a command line, up to the next option, since a path may contain spaces.

    >>> option("trtexec --onnx=/data/My Models/a.onnx --fp16", "onnx"), option("x --batch 8", "batch")
    ('/data/My Models/a.onnx', '8')
    """
    start = re.search(rf"(?:^|\s)--?{name}[= ]", command)
    if start is None:
        return ""
    rest = command[start.end() :].lstrip()
    if rest[:1] in ("'", '"'):
        return rest[1:].partition(rest[0])[0]
    return re.split(r"\s--?[A-Za-z]|\s[|>&;]", rest, maxsplit=1)[0].strip()
