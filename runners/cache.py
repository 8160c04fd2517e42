"""`frm-mlflow cache`: lists the cache of exported models and frees space in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import click
from rich.filesize import decimal
from rich.table import Table

from frm_mlflow.export.cache import CacheEntry, ExportCache
from frm_mlflow.terminal import terminal

from ._options import as_json as json_option
from ._options import older_than_days as age_option


@click.command("cache")
@click.argument("action", type=click.Choice(["list", "prune"]), default="list")
@age_option
@json_option
def command(action: str, older_than_days: float, as_json: bool) -> int:
    """List or prune exported models."""
    if action == "prune":
        return prune(older_than_days=older_than_days, as_json=as_json)
    return show(as_json=as_json)


def show(*, as_json: bool) -> int:
    """List the exports, most recently used first."""
    entries = ExportCache().entries()
    _print(entries, title=f"{len(entries)} exports, {decimal(sum(e.bytes for e in entries))}", as_json=as_json)
    return 0


def prune(*, older_than_days: float, as_json: bool) -> int:
    """Remove the exports not used for `older_than_days`, and list them."""
    age = timedelta(days=older_than_days)
    removed = ExportCache().prune(older_than=age, now=datetime.now(timezone.utc))
    _print(removed, title=f"removed {len(removed)}, {decimal(sum(e.bytes for e in removed))}", as_json=as_json)
    return 0


def _print(entries: Sequence[CacheEntry], *, title: str, as_json: bool) -> None:
    rows = sorted(entries, key=lambda entry: entry.last_used, reverse=True)
    if as_json:
        facts = [
            {"key": e.key, "model": e.model, "runtime": e.runtime, "precision": e.precision, "bytes": e.bytes}
            | {"last_used": e.last_used.isoformat(), "path": str(e.path)}
            for e in rows
        ]
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    table = Table("model", "runtime", "precision", "size", "last used", title=title, title_justify="left")
    for e in rows:
        table.add_row(e.model, e.runtime, e.precision, decimal(e.bytes), f"{e.last_used:%Y-%m-%d %H:%M}")
    terminal(stderr=False).print(table)
