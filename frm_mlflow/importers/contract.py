"""The contract for importers, on one screen.

An importer is a function registered under the entry-point group `frm_mlflow.importers`:

    def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]

It yields one `Row` for each benchmark, with the source's names and with metrics in `schema`'s
units, and one `LeftOut` for each row that it does not use. Afterwards, names, tiers and missing
facts are resolved and numbers are checked, the same way for every source. An importer opens files
only through `importers.files`, executes nothing and writes nothing.

Whatever cannot be read is left out, counted and named, and never stops the rest:
`logs.each(path, patterns, options, read_one)` calls `read_one(log)` for each file and turns an
error in one of them into a `LeftOut`. A new importer of logs consists of that call and a `read_one`.
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
    """One benchmark as stated in a source; "" and None mean that the source does not state the value."""

    file: str
    row: str
    """`file` relative to the source and `row` in it are the benchmark's identity."""
    model: str
    device: str
    runtime: str
    precision: str
    metrics: Mapping[str, float]
    """Values by `schema.Metric.key`; `schema.LATENCY_P50` holds the statistic named in the next field."""
    latency_statistic: str
    memory_definition: str = ""
    compute_unit: str = "cpu"
    tier: str = ""
    """gpu, cpu or edge as stated in the row: it takes precedence over the device catalogue's ..."""
    assumed_tier: str = ""
    """... which takes precedence over the importer's assumption."""
    chip: str = ""
    runtime_version: str = ""
    batch_size: int = 1
    input_size: int | None = None
    version: str = ""
    """Version of the source: a release, or the hash of the file. A different version is a different benchmark ..."""
    series: str = ""
    """... in the same series, of which only the newest counts; by default the file and the row."""
    date: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)
    """Other facts from the source that have no tag."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row (`*`: every row of the file) that is not imported, and the reason."""

    file: str
    row: str
    reason: str
    error: FrmError | None = field(default=None, compare=False, repr=False)
    """Set if the file or row cannot be read; raised if nothing else in the source can be read."""


class Importer(Protocol):
    """The function that an entry point of `frm_mlflow.importers` refers to."""

    def __call__(self, path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
        """Yield every row of the source at `path`."""
        ...
