"""`frm-mlflow ingest`: a source's rows become benchmark runs below one parent run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from frm_mlflow import schema
from frm_mlflow.config import IngestConfig, checked
from frm_mlflow.errors import DataError
from frm_mlflow.importers.read import Import, read
from frm_mlflow.stages.progress import console, counting
from frm_mlflow.tracking import log, server
from frm_mlflow.tracking.bulk import BulkReport, log_records

SHOWN = 12
"""Rows of a count that a terminal shows."""


def ingest(config: DictConfig) -> None:
    """Import the source that `config` names and log each of its benchmarks once.

    Raises
    ------
    ImportFileError
        Where the file is broken, hostile or not what its name says; nothing is logged then.
    DataError
        Where some rows could not be logged; the same command again logs the rest.
    """
    settings = checked(IngestConfig, config, where="ingest")
    out = console()
    client = None if settings.dry_run else server.connect(settings.tracking.uri)
    with out.status(f"reading {settings.source.name}"):
        imported = read(settings.source.name, Path(settings.path) if settings.path else None, settings.source)
    if client is None:
        _report(imported, None, as_json=settings.json, out=out)
        return
    title = f"import of {settings.source.name} {', '.join(v for v in imported.versions if v)}".strip()
    params = log.flat_params(_plain(config))
    tags = {**settings.tracking.tags, schema.SOURCE.key: f"imported:{settings.source.name}"}
    with (
        log.open_sweep(client, settings.tracking.experiment, name=title, tags=tags, params=params) as parent,
        counting(title, out=out) as progress,
    ):
        logged = log_records(
            client,
            parent.experiment,
            imported.records,
            parent_run_id=parent.run_id,
            on_progress=progress,
        )
        log.describe(client, parent.run_id, _markdown(imported, logged))
        log.log_table(client, parent.run_id, imported.count_table(), "counts")
        if imported.left_out:
            log.log_table(client, parent.run_id, pd.DataFrame(map(asdict, imported.left_out)), "left_out")
    _report(imported, logged, as_json=settings.json, out=out)
    if logged.failed:
        name, reason = logged.failures[0]
        raise DataError(f"{logged.failed} rows could not be logged ({name}: {reason}); run the same command again.")


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    return plain if isinstance(plain, dict) else {}  # type: ignore[return-value]  # a DictConfig has string keys here


def _report(imported: Import, logged: BulkReport | None, *, as_json: bool, out: Console) -> None:
    if as_json:
        answer = {
            "source": imported.source,
            "records": len(imported.records),
            "logged": None if logged is None else {"added": logged.added, "present": logged.present},
            "left_out": imported.reasons,
            "republished": imported.republished,
            "unknown_models": imported.unknown_models,
            "unknown_devices": imported.unknown_devices,
            "counts": imported.counts(),
        }
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    for by, values in imported.counts().items():
        table = Table(by, "benchmarks", title=f"{len(values)} by {by}", title_justify="left")
        for value, number in list(values.items())[:SHOWN]:
            table.add_row(value, str(number))
        if len(values) > SHOWN:
            table.add_row(f"… {len(values) - SHOWN} more", str(sum(list(values.values())[SHOWN:])))
        out.print(table)
    for line in _sentences(imported, logged):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _sentences(imported: Import, logged: BulkReport | None) -> list[str]:
    lines = [f"{len(imported.records)} benchmarks read from {imported.path.name}."]
    if logged is not None:
        lines.append(f"{logged.added} added, {logged.present} were there already, {logged.failed} failed.")
    if imported.republished:
        lines.append(f"{imported.republished} repeat a job under another device's name; analyses count each job once.")
    lines += [f"{number} rows left out: {reason}" for reason, number in imported.reasons.items()]
    for what, names in (("models", imported.unknown_models), ("devices", imported.unknown_devices)):
        if names:
            listed = ", ".join(list(names)[:SHOWN])
            lines.append(
                f"{len(names)} unknown {what} kept under their own names (map them with source.{what}): {listed}"
            )
    return lines


def _markdown(imported: Import, logged: BulkReport) -> str:
    return "\n".join(f"- {line}" for line in _sentences(imported, logged))
