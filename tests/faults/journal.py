"""Journal of what a sweep really measured, written independently of everything under test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

MEASURED, WRITTEN = "measured", "written"


@dataclass(frozen=True)
class Truth:
    """Record ids of the measurements, and of those that also reached the disk, each with its median latency."""

    measured: dict[str, float]
    written: frozenset[str]


def read(path: Path) -> Truth:
    """Return the journal's contents."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    measured = {line["record"]: line["latency"] for line in lines if line["what"] == MEASURED}
    return Truth(measured, frozenset(line["record"] for line in lines if line["what"] == WRITTEN))


def tap(path: Path) -> None:
    """Record in `path` every measurement that this process finishes, and every one that it writes to disk."""
    from frm_mlflow.sweep import run as stage
    from frm_mlflow.tracking import spool

    stage.record_of = _noting(stage.record_of, path, MEASURED, lambda args, record: record)
    spool.keep = _noting(spool.keep, path, WRITTEN, lambda args, folder: args[0])


def _noting(
    function: Callable[..., Any], path: Path, what: str, subject: Callable[[tuple[Any, ...], Any], Any]
) -> Callable[..., Any]:
    @wraps(function)
    def noted(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        record = subject(args, result)
        latency = record.metrics.get("latency/p50_ms")
        if latency is not None:
            line = json.dumps({"what": what, "record": record.record_id, "latency": latency}) + "\n"
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, line.encode())
            os.close(handle)
        return result

    return noted


def main() -> None:
    """Run `frm-mlflow` with the journal named in the environment."""
    from frm_mlflow import cli

    tap(Path(os.environ["FRM_FAULTS_JOURNAL"]))
    cli.main()


if __name__ == "__main__":
    main()
