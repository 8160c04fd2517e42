"""The contract of an importer, on one screen.

An importer is a function registered under the entry-point group `frm_mlflow.importers`:

    def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]

It yields one `Row` for each benchmark, in the source's own words, with metrics in `schema`'s
units, and one `LeftOut` for each row that it does not use. Names, tiers and missing facts are
resolved after it, and numbers are checked there, the same way for every source. It opens files
through `importers.files` alone, executes nothing and writes nothing.

What can be read is read, what cannot is left out, counted and named, and nothing stops the rest:
`logs.each(path, patterns, options, read_one)` calls `read_one(log)` for each file and turns an
error in one of them into a `LeftOut`. A new importer of logs is that call and a `read_one`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import FrmError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One benchmark as a source states it; "" and None are "the source does not say"."""

    file: str
    row: str
    """`file` relative to the source and `row` in it are the benchmark's identity."""
    model: str
    device: str
    runtime: str
    precision: str
    metrics: Mapping[str, float]
    """`schema.Metric.key` to value; `schema.LATENCY_P50` holds the statistic that follows."""
    latency_statistic: str
    memory_definition: str = ""
    compute_unit: str = "cpu"
    tier: str = ""
    """gpu, cpu or edge as the row states it: it wins over the device catalogue's ..."""
    assumed_tier: str = ""
    """... which wins over what the importer assumes."""
    chip: str = ""
    runtime_version: str = ""
    batch_size: int = 1
    input_size: int | None = None
    version: str = ""
    """Of the source: a release, or the hash of the file. Another version is another benchmark ..."""
    series: str = ""
    """... of the same series, of which the newest counts; by default the file and the row."""
    date: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)
    """What else the source says and no tag holds."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row (`*`: all of the file's) that is not imported, and why."""

    file: str
    row: str
    reason: str
    error: FrmError | None = field(default=None, compare=False, repr=False)
    """Set if the file or row cannot be read; it is raised if nothing else of the source can be either."""


class Importer(Protocol):
    """What an entry point of `frm_mlflow.importers` names."""

    def __call__(self, path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
        """Yield every row of the source at `path`."""
        ...
