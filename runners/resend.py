"""`frm-mlflow resend`: logs the results kept on disk while the tracking server was unavailable."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from frm_mlflow.progress import console
from frm_mlflow.tracking import spool

from ._options import as_json as json_option


@click.command("resend")
@click.option("--uri", help="Tracking server for all results.  [default: the one each result was meant for]")
@json_option
def command(uri: str | None, as_json: bool) -> int:
    """Log the results that are stored on disk because the tracking server was unavailable."""
    return resend(uri=uri, as_json=as_json)


def resend(*, uri: str | None, as_json: bool = False) -> int:
    """Log every pending result exactly once; return exit code 1 if some are still pending or were set aside."""
    report = spool.resend(uri=uri)
    if as_json:
        answer: dict[str, object] = {"sent": report.sent, "present": report.present}
        answer |= {"left": _rows(report.left), "set_aside": _rows(report.set_aside)}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 1 if report.left or report.set_aside else 0
    out = console()
    for folder, reason in report.left:
        out.print(f"{folder.name}: {reason}", markup=False, highlight=False)
    for folder, reason in report.set_aside:
        out.print(f"Set aside in {folder}: {reason}", markup=False, highlight=False)
    out.print(f"{report.sent} logged, {len(report.left)} still pending.", highlight=False)
    if aside := len(spool.set_aside()):
        out.print(
            f"{aside} in {spool.spool_directory() / spool.SET_ASIDE} could not be read: repair them and move them "
            "back, or delete them.",
            markup=False,
            highlight=False,
        )
    return 1 if report.left or report.set_aside else 0


def _rows(folders: Sequence[tuple[Path, str]]) -> list[dict[str, str]]:
    return [{"folder": str(folder), "reason": reason} for folder, reason in folders]
