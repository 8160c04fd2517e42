"""`frm-mlflow ingest`: logs a source's rows as benchmark runs below one parent run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from frm_mlflow import schema
from frm_mlflow.config import IngestConfig, checked
from frm_mlflow.errors import DataError
from frm_mlflow.importers import LeftOut
from frm_mlflow.importers.read import Import, read
from frm_mlflow.progress import console, counting
from frm_mlflow.tracking import server
from frm_mlflow.tracking.artifacts import describe, log_table
from frm_mlflow.tracking.bulk import BulkReport, log_records
from frm_mlflow.tracking.run_files import flat_params
from frm_mlflow.tracking.runs import open_sweep
from frm_mlflow.tracking.views import print_links

SHOWN = 12
"""Maximum number of rows per count shown in a terminal."""
LISTED = 10_000
"""Maximum number of skipped rows listed individually with `json=true`; the run's table has all of them."""


def ingest(config: DictConfig) -> None:
    """Import the source in `config` and log each of its benchmarks once.

    Raises
    ------
    ImportFileError
        If the file is corrupt, malicious or not of the type that its name indicates; nothing is logged then.
    DataError
        If no row can be imported, or some could not be logged; running the command again logs the rest.
    """
    settings = checked(IngestConfig, config, where="ingest")
    out = console()
    client = None if settings.dry_run else server.connect(settings.tracking.uri)
    with out.status(f"reading {settings.source.name}"):
        imported = read(settings.source.name, Path(settings.path) if settings.path else None, settings.source)
    if client is None or not imported.records:
        _report(imported, None, as_json=settings.json, out=out)
        if not imported.records:
            raise DataError(f"{imported.path.name}: nothing to import, {len(imported.left_out)} left out")
        return
    experiment = server.experiment_name(client, settings.tracking.experiment)
    title = f"import of {settings.source.name} {', '.join(v for v in imported.versions if v)}".strip()
    params = flat_params(_plain(config))
    tags = {**settings.tracking.tags, schema.SOURCE.key: f"imported:{settings.source.name}"}
    with (
        open_sweep(client, experiment, name=title, tags=tags, params=params) as parent,
        counting(title, out=out) as progress,
    ):
        logged = log_records(
            client,
            parent.experiment,
            imported.records,
            parent_run_id=parent.run_id,
            on_progress=progress,
        )
        describe(client, parent.run_id, _markdown(imported, logged))
        log_table(client, parent.run_id, imported.count_table(), "counts")
        if imported.left_out:
            log_table(client, parent.run_id, pd.DataFrame(map(asdict_of, imported.left_out)), "left_out")
    _report(imported, logged, as_json=settings.json, out=out)
    print_links(client, parent.experiment, out)
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
            "left_out_rows": [asdict_of(item) for item in imported.left_out[:LISTED]],
            "republished": imported.republished,
            "unknown_models": imported.unknown_models,
            "unknown_devices": imported.unknown_devices,
            "near_models": imported.near_models,
            "near_devices": imported.near_devices,
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
    lines += _left_out_sentences(imported)
    for what, names in (("models", imported.unknown_models), ("devices", imported.unknown_devices)):
        if names:
            near = imported.near_models if what == "models" else imported.near_devices
            listed = ", ".join(name + _near(near.get(name, ())) for name in list(names)[:SHOWN])
            lines.append(f"{len(names)} {what} not in the catalogue (map them with source.{what}): {listed}")
    return lines


def asdict_of(item: LeftOut) -> dict[str, str]:
    """Return a skipped row as a row of a table."""
    return {"file": item.file, "row": item.row, "reason": item.reason}


def _left_out_sentences(imported: Import) -> list[str]:
    """Return one sentence per reason with the number of rows and the first of them; at most `SHOWN` sentences."""
    lines = []
    for reason, number in list(imported.reasons.items())[:SHOWN]:
        first = next(item for item in imported.left_out if item.reason == reason)
        place = first.file if first.row == "*" else f"{first.file}, row {first.row}"
        lines.append(f"{number} left out: {reason} ({place}{', …' if number > 1 else ''})")
    others = list(imported.reasons.values())[SHOWN:]
    return [*lines, f"{sum(others)} left out for {len(others)} other reasons"] if others else lines


def _near(names: Sequence[str]) -> str:
    return f" (near: {', '.join(names)})" if names else ""


def _markdown(imported: Import, logged: BulkReport) -> str:
    return "\n".join(f"- {line}" for line in _sentences(imported, logged))
