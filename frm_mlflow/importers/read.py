"""Entry point of the importers: turns a source's name and path into benchmark records and counts the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pandas as pd

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.devices import catalogue as devices
from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.importers import fetch, files, limits
from frm_mlflow.importers.contract import Importer, LeftOut, Row
from frm_mlflow.importers.resolve import Unknown, record_of
from frm_mlflow.near import near_names
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.zoo import aliases

GROUP = "frm_mlflow.importers"
FETCHED: Mapping[str, str] = {"aihub": "qai_hub_models"}
"""Sources that are downloaded if no path is given, with the package that contains them."""
NEAR = 100
"""Maximum number of unknown names for which similar names are searched."""
COUNTED_BY = (schema.MODEL, schema.DEVICE, schema.RUNTIME, schema.PRECISION)


@dataclass(frozen=True, kw_only=True)
class Import:
    """Content of a source: the records to log, and counts of everything else."""

    source: str
    path: Path
    records: tuple[BenchmarkRecord, ...]
    left_out: tuple[LeftOut, ...]
    unknown_models: Mapping[str, int]
    unknown_devices: Mapping[str, int]

    @property
    def reasons(self) -> Mapping[str, int]:
        """Number of rows left out by reason, the most frequent first."""
        return dict(Counter(item.reason for item in self.left_out).most_common())

    @property
    def near_models(self) -> Mapping[str, list[str]]:
        """Similar catalogue names for each unknown model, as suggestions only; no name is mapped by similarity."""
        return {name: near for name in list(self.unknown_models)[:NEAR] if (near := aliases.near(name))}

    @property
    def near_devices(self) -> Mapping[str, list[str]]:
        """Similar catalogue names for each unknown device."""
        catalogue = devices.catalogue()
        return {n: near for n in list(self.unknown_devices)[:NEAR] if (near := near_names(n, catalogue))}

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions of the source in the records."""
        return tuple(sorted({record.tags.get(schema.SOURCE_VERSION.key, "") for record in self.records}))

    @property
    def republished(self) -> int:
        """Records whose job is also listed under another name; an analysis counts each job once."""
        jobs = Counter(record.tags[schema.JOB_ID.key] for record in self.records if schema.JOB_ID.key in record.tags)
        return sum(number - 1 for number in jobs.values())

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the number of records by model, device, runtime and precision."""
        tags = [record.all_tags() for record in self.records]
        return {by.column: dict(Counter(t[by.key] for t in tags).most_common()) for by in COUNTED_BY}

    def count_table(self) -> pd.DataFrame:
        """Return `counts` as a long table: by, value, records."""
        rows = [(by, value, number) for by, values in self.counts().items() for value, number in values.items()]
        return pd.DataFrame(rows, columns=["by", "value", "records"])


def importers() -> Mapping[str, Importer]:
    """Return every installed importer by name, built-in and third-party."""
    return {point.name: point.load() for point in entry_points(group=GROUP)}


def read(source: str, path: Path | None, options: SourceConfig | None = None, *, cache: Path | None = None) -> Import:
    """Return the entire content of the source at `path`, as records.

    Parameters
    ----------
    source
        Name of an importer: aihub, timm, trtexec, ..., or a third party's.
    path
        The source's file or folder. None downloads it if possible (aihub: one wheel, with pip).
    options
        See `config.SourceConfig`; by default those of `conf/source/NAME.yaml` without settings.
    cache
        Folder for downloads; nothing else is written.

    Raises
    ------
    ConfigError
        If no importer has this name, or it needs a path.
    ImportFileError
        If a file is damaged, malicious or not what its name claims; the message names file and row.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if source not in points:
        raise ConfigError(f"no importer is named '{source}'; installed: {', '.join(sorted(points))}")
    options = options or SourceConfig(name=source)
    path = _source_path(source, path, options, cache)
    return _collect(source, path, points[source].load(), options)


def _source_path(source: str, path: Path | None, options: SourceConfig, cache: Path | None) -> Path:
    if path is not None:
        if not files.exists(path):
            raise ImportFileError(f"{path}: no such file or folder")
        return path
    if source not in FETCHED:
        raise ConfigError(f"source={source} needs path=FILE")
    return fetch.wheel(FETCHED[source], options.version or fetch.PINNED[FETCHED[source]], cache=cache)


def _collect(source: str, path: Path, importer: Importer, options: SourceConfig) -> Import:
    records: list[BenchmarkRecord] = []
    left_out: list[LeftOut] = []
    unknown = Unknown()
    with limits.limited(options.limits):
        for item in importer(path, options):
            result = record_of(item, options, unknown) if isinstance(item, Row) else item
            if isinstance(result, BenchmarkRecord):
                records.append(result)
            else:
                left_out.append(result)
    if not records:
        _raise_if_unreadable(left_out, path, source)
    return Import(
        source=source,
        path=path,
        records=tuple(records),
        left_out=tuple(left_out),
        unknown_models=dict(unknown.models.most_common()),
        unknown_devices=dict(unknown.devices.most_common()),
    )


def _raise_if_unreadable(left_out: list[LeftOut], path: Path, source: str) -> None:
    """Raise the first error if the source gave only errors, or raise an error if it gave nothing."""
    if not left_out:
        raise ImportFileError(f"{path.name}: has no results that source={source} can read")
    errors = [item.error for item in left_out if item.error is not None]
    if len(errors) == len(left_out):
        raise errors[0]
