"""Identifies the process that runs a sweep, so that resuming does not interfere with one that is still running."""

from __future__ import annotations

import os
import platform

import psutil

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError
from frm_mlflow.tracking.lease import is_alive


def runner_tags() -> dict[str, str]:
    """Return the tags that identify this process as the one running a sweep."""
    pid = os.getpid()
    return {schema.HOST.key: platform.node(), schema.PROCESS.key: f"{pid} {psutil.Process(pid).create_time():.2f}"}


def refuse_if_alive(run_id: str, *, host: str, process: str) -> None:
    """Refuse to take over a sweep whose process is still running on this host.

    Raises
    ------
    ConfigError
        If it is running; the message names the process, and nothing has been changed.
    """
    if host == platform.node() and is_alive(process):
        pid = process.partition(" ")[0]
        raise ConfigError(
            f"resume=true: the sweep {run_id} is still running here as process {pid}. Wait for it, or stop it first."
        )
