"""Which process runs a sweep, so that resuming leaves one that is still at it alone."""

from __future__ import annotations

import os
import platform

import psutil

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError

_CLOCK_TOLERANCE_S = 5.0
"""The system's clock may be set between two looks at when a process started."""


def runner_tags() -> dict[str, str]:
    """Return the tags by which this process is recognised as the one that runs a sweep."""
    pid = os.getpid()
    return {schema.HOST.key: platform.node(), schema.PROCESS.key: f"{pid} {psutil.Process(pid).create_time():.2f}"}


def is_alive(process: str) -> bool:
    """Whether the process of a `frm.process` tag runs on this host; a later one with the same id is another."""
    pid, _, started = process.partition(" ")
    try:
        found = psutil.Process(int(pid))
        same = abs(found.create_time() - float(started)) <= _CLOCK_TOLERANCE_S
        return same and found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


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
