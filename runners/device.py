"""`frm-mlflow device`: describes a remote device and frees space on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from rich.filesize import decimal

from frm_mlflow import devices
from frm_mlflow.config import AttachConfig, DeviceConfig, checked
from frm_mlflow.errors import ConfigError
from frm_mlflow.overrides import prepared
from frm_mlflow.sweep.compose import composed
from frm_mlflow.terminal import terminal

from ._options import as_json as json_option
from ._options import older_than_days as age_option

_DAY_S = 86400.0


@click.command("device")
@click.argument("action", type=click.Choice(["probe", "prune"]))
@click.argument("settings", nargs=-1, required=True)
@age_option
@json_option
def command(action: str, settings: tuple[str, ...], older_than_days: float, as_json: bool) -> int:
    """Describe a remote device (probe), or remove models that were copied to it (prune).

    SETTINGS say which: device=NAME device.transport=ssh device.host=USER@HOST ...
    """
    if action == "prune":
        return prune(settings, older_than_days=older_than_days, as_json=as_json)
    return probe(settings, as_json=as_json)


def probe(overrides: Sequence[str], *, as_json: bool) -> int:
    """Print what the device reports about itself, and the device name that its runs would have."""
    config = _settings(overrides)
    with devices.opened(config) as host:
        device = devices.resolve(config, hardware=host.hardware, known=devices.known_devices())
        hardware, surroundings = host.hardware, host.environment(device)
    if as_json:
        sys.stdout.write(json.dumps(surroundings, indent=2) + "\n")
        return 0
    libraries = ", ".join(f"{name} {version}" for name, version in surroundings["libraries"].items())
    lines = [
        f"device={device.name}, tier {device.tier}: {device.chip}",
        f"{hardware.describe()}, {hardware.memory_mib / 1024:.1f} GiB, {hardware.arch}, {hardware.os}",
        f"Python {surroundings['python'].split()[0]}, {libraries or 'no library that is known'}",
        ", ".join(f"{name} {value:g}" for name, value in surroundings["conditions"].items()),
    ]
    terminal(stderr=False).print("\n".join(lines))
    return 0


def prune(overrides: Sequence[str], *, older_than_days: float, as_json: bool) -> int:
    """Remove copies on the device that have not been used for `older_than_days`."""
    config = _settings(overrides)
    if config.transport == "local":
        raise ConfigError("device prune needs a device elsewhere; `frm-mlflow cache prune` removes exports here")
    with devices.opened(config) as host:
        removed, size = host.prune(older_than_s=older_than_days * _DAY_S)
    if as_json:
        sys.stdout.write(json.dumps({"removed": removed, "bytes": size}, indent=2) + "\n")
    else:
        terminal(stderr=False).print(f"removed {len(removed)}, {decimal(size)}")
    return 0


def _settings(overrides: Sequence[str]) -> DeviceConfig:
    return checked(AttachConfig, composed("attach", prepared("attach", overrides)), where="device").device
