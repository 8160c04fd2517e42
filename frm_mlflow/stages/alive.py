"""Which process runs a sweep, so that resuming leaves one that is still at it alone."""

from __future__ import annotations

import os
import platform

import psutil

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError
from frm_mlflow.tracking.lease import is_alive


def runner_tags() -> dict[str, str]:
    """Return the tags by which this process is recognised as the one that runs a sweep."""
    pid = os.getpid()
    return {schema.HOST.key: platform.node(), schema.PROCESS.key: f"{pid} {psutil.Process(pid).create_time():.2f}"}


def refuse_if_alive(run_id: str, *, host: str, process: str) -> None:
    """Refuse to take over a sweep whose process still runs on this host.

    Raises
    ------
    ConfigError
        With the process; nothing has been touched then.
    """
    if host == platform.node() and is_alive(process):
        pid = process.partition(" ")[0]
        raise ConfigError(
            f"resume=true: the sweep {run_id} is still running here as process {pid}. Wait for it, or stop it first."
        )
