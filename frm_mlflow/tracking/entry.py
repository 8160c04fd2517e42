"""One finished run as data: what is logged of it, and how it is written to a folder and read again."""

from __future__ import annotations

import json
import math
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from frm_mlflow import escape, redact, schema
from frm_mlflow.errors import DataError
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.tracking.run_files import NO_FILES, RunFiles

ENTRY_FILE = "run.json"
ARTIFACTS_FOLDER = "artifacts"

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
LEFT_OPEN = ""
"""The status of an entry that joins a run created by someone else, which is not ended on its behalf."""

VALUE_LENGTH = 5000
"""Longest value of a tag or param that every supported MLflow server accepts."""
LARGEST_ENTRY_BYTES = 16 * 2**20

Words = dict[Annotated[str, Field(min_length=1, max_length=500)], str]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,128}$")]
"""An id that is also valid as a folder name."""
Milliseconds = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]
"""Since the epoch, before the year 10,000."""


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """Everything to log of one finished run, except its artifacts.

    `record_id`, which is also in `tags`, makes sending it twice harmless; it is "" for a run that has a
    `run_id` and is only ended. `run_id` is the run that was opened for it, or None
    if there is none yet. Times are milliseconds since the epoch.

    With the status `LEFT_OPEN` it joins the run `run_id`. Its metrics are logged at `step` and also belong to the
    LoggedModel `model_id`, if given. Its keys already include `prefix`.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    tracking_uri: Annotated[str, Field(min_length=1)]
    experiment: str
    record_id: Identifier
    name: str
    status: Annotated[str, Field(pattern=r"^(FINISHED|FAILED|KILLED|)$")]
    start_ms: Milliseconds
    end_ms: Milliseconds
    run_id: Identifier | None = None
    tags: Words = field(default_factory=dict)
    params: Words = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    prefix: str = ""
    step: Annotated[int, Field(ge=0, lt=2**63)] = 0
    model_id: Identifier = ""

    @property
    def joins(self) -> bool:
        """Whether it is logged to a run created by someone else."""
        return self.status == LEFT_OPEN

    def write(self, folder: Path, files: RunFiles = NO_FILES) -> None:
        """Write the entry and its artifacts into the empty folder `folder`."""
        (folder / ARTIFACTS_FOLDER).mkdir()
        files.write(folder / ARTIFACTS_FOLDER)
        words = {"name": redact.text(self.name), "tracking_uri": redact.text(self.tracking_uri)}
        content = asdict(self) | words | {"tags": redact.settings(self.tags), "params": redact.settings(self.params)}
        (folder / ENTRY_FILE).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> RunEntry:
        """Read the entry in `folder`.

        Raises
        ------
        DataError
            If the folder is not a complete saved run, contains links or special files, or a value is invalid.
        """
        path = folder / ENTRY_FILE
        try:
            _refuse_links(folder)
            entry = TypeAdapter(cls).validate_json(_content(path))
        except ValidationError as error:
            raise DataError(f"{path} is not a saved run: {_first_fault(error)}") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not a saved run: {error}") from error
        if not (entry.run_id or (entry.record_id and not entry.joins)):
            raise DataError(f"{path} is not a saved run: it names neither a run nor a record")
        return entry


def _refuse_links(folder: Path) -> None:
    """Raise `ValueError` unless the folder has artifacts and contains only plain files and folders."""
    if folder.is_symlink():
        raise ValueError("its folder is a symbolic link")
    if not (folder / ARTIFACTS_FOLDER).is_dir():
        raise ValueError(f"it has no folder '{ARTIFACTS_FOLDER}'")
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(f"'{path.relative_to(folder)}' is a symbolic link or a special file")


def _content(path: Path) -> bytes:
    """Return the bytes of a plain file of acceptable size."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a plain file")
        content = file.read(LARGEST_ENTRY_BYTES + 1)
    if len(content) > LARGEST_ENTRY_BYTES:
        raise ValueError(f"it is larger than {LARGEST_ENTRY_BYTES // 2**20} MiB")
    return content


def _first_fault(error: ValidationError) -> str:
    """Return the location and the reason of the first error that pydantic reports."""
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part)[:60].encode("unicode_escape").decode() for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])


def to_ms(time: datetime) -> int:
    """Return an aware datetime as milliseconds since the epoch, MLflow's unit of time."""
    return round(time.timestamp() * 1000)


def short(text: str) -> str:
    """Return `text` without secrets, cut to the maximum length of a tag or param; JSON stays valid JSON."""
    text = redact.text(text)
    return escape.tag_value(text, longest=VALUE_LENGTH)


def clean(words: Mapping[str, str]) -> dict[str, str]:
    """Return tags or params in a form that a server accepts: without secrets, and not too long."""
    cut = {key: short(value) for key, value in redact.settings(words).items()}
    return {key: note(value) if key == MLFLOW_RUN_NOTE else value for key, value in cut.items()}


def note(markdown: str) -> str:
    """Return a description that MLflow's UI can show without fetching anything."""
    return escape.tag_value(escape.without_images(redact.text(markdown)), longest=VALUE_LENGTH)


def record_entry(
    record: BenchmarkRecord,
    *,
    tracking_uri: str,
    experiment: str,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> RunEntry:
    """Return the entry that logs `record` as a FINISHED run.

    Metrics that are NaN or infinite are left out: a metric that was not measured is absent.
    """
    parent = {MLFLOW_PARENT_RUN_ID: parent_run_id} if parent_run_id else {}
    return RunEntry(
        tracking_uri=tracking_uri,
        experiment=experiment,
        record_id=record.record_id,
        name=record.name,
        status=FINISHED,
        start_ms=to_ms(record.start_time),
        end_ms=to_ms(record.end_time),
        run_id=run_id,
        tags={**parent, MLFLOW_RUN_NOTE: describe_record(record), **(tags or {}), **record.all_tags()},
        params=dict(record.params),
        metrics={key: float(value) for key, value in record.metrics.items() if math.isfinite(value)},
    )


def written_now(entry: RunEntry) -> RunEntry:
    """Return the entry marked as logged now, so that caches detect a run whose end is in the past."""
    return replace(entry, metrics={**entry.metrics, schema.WRITTEN.key: time.time()})


DESCRIBED = (
    ("latency (median)", schema.LATENCY_P50, schema.RATIO_LATENCY),
    ("peak memory", schema.MEMORY_PEAK, schema.RATIO_MEMORY),
    ("FLOPs", schema.GMACS, schema.RATIO_FLOPS),
    ("energy", schema.ENERGY, schema.RATIO_ENERGY),
    ("**FRM**", None, schema.FRM),
)
"""What a run's description shows: a name, the metric, and its ratio to the baseline."""


def describe_record(record: BenchmarkRecord) -> str:
    """Return the run's description in Markdown: what ran on which device, and a small table of the main metrics."""
    c = record.configuration
    where = escape.markdown(f"on {c.device}, {c.runtime} {c.runtime_version}".rstrip(), longest=500)
    beside = f"over {escape.markdown(record.baseline)}'s" if record.baseline else "over the baseline's"
    lines = [
        f"**{escape.markdown(record.model)}** {where}, {escape.markdown(c.precision)}, batch {c.batch_size}.",
        "",
        f"| | | {beside} |",
        "|---|---|---|",
    ]
    for label, metric, ratio in DESCRIBED:
        cells = _cell(record, metric), _cell(record, ratio)
        if any(cells):
            lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _cell(record: BenchmarkRecord, metric: schema.Metric | None) -> str:
    """Return a metric with its unit, or "" if it was not measured."""
    value = math.nan if metric is None else record.metrics.get(metric.key, math.nan)
    if metric is None or not math.isfinite(value):
        return ""
    return f"{value:.4g}" if metric.unit == "1" else f"{value:.4g} {metric.unit}"
