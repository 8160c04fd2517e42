"""What a measurement depends on besides the model: versions, driver, clocks, temperatures, load."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frm_mlflow.devices.hardware import Hardware
from frm_mlflow.devices.resolve import Device
from frm_mlflow.worker import machine

_GIT_SECONDS = 10


def environment(device: Device, hardware: Hardware) -> dict[str, Any]:
    """Return everything about this machine that belongs in the run's artifact, ready for JSON."""
    return {
        "device": asdict(device),
        "hardware": asdict(hardware),
        **machine.software(),
        "git": git_state(Path.cwd()),
        "conditions": conditions(device),
    }


def conditions(device: Device) -> dict[str, float]:
    """Return what changes while this machine is running: load, clocks, temperatures, throttling."""
    return machine.conditions(device.kind, device.index)


def git_state(folder: Path) -> dict[str, str | bool]:
    """Return the commit of the checkout that contains `folder` and whether it has changes; {} outside a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
