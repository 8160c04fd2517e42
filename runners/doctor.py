"""`frm-mlflow doctor`: reports available hardware, runtimes, meters and server, and what is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from frm_mlflow import devices, redact
from frm_mlflow.config import DeviceConfig, RuntimeConfig
from frm_mlflow.errors import FrmError, install_command
from frm_mlflow.export import precisions
from frm_mlflow.sweep import preflight
from frm_mlflow.tracking import server, spool
from frm_mlflow.worker.energy import energy_meter
from frm_mlflow.worker.runtimes import RUNTIMES, installed_version

from ._options import as_json as json_option


@dataclass(frozen=True)
class Finding:
    """Result of one check: whether the item is available, details, and how to get it."""

    subject: str
    present: bool
    found: str
    remedy: str = ""


_ASK_S = 20.0
_AT_ONCE = 4
_PROCESSOR = devices.Device("cpu", "cpu", "cpu", "", "cpu")


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Print what this machine offers, and what is missing for more."""
    findings = examine()
    if as_json:
        click.echo(json.dumps(findings, indent=2, default=str))
    else:
        show(findings)


def examine() -> dict[str, Any]:
    """Return all findings by section, as plain dicts and lists."""
    hardware = devices.probe()
    auto = DeviceConfig(name="auto", tier=None, kind="auto")
    device = devices.resolve(auto, hardware=hardware, known=devices.known_devices())
    sections = {
        "hardware": _hardware(hardware, device),
        "runtimes": _runtimes(device),
        "meters": [_energy(device)],
        "transports": [_ssh(), _adb()],
        "tracking": [_server(), _spool()],
    }
    plain = {name: [asdict(finding) for finding in findings] for name, findings in sections.items()}
    return {name: redact.settings(findings) for name, findings in plain.items()}


def show(findings: dict[str, Any]) -> None:
    """Print the findings in human-readable form."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for section, rows in findings.items():
        table.add_row("", f"[bold]{section}[/]")
        for row in rows:
            mark = "[green]✓[/]" if row["present"] else "[yellow]–[/]"
            remedy = f"\n[dim]for more: {escape(row['remedy'])}[/]" if row["remedy"] else ""
            table.add_row(mark, escape(row["subject"]), escape(row["found"]) + remedy)
    Console().print(table)


def _hardware(hardware: devices.Hardware, device: devices.Device) -> list[Finding]:
    findings = [Finding("device=auto", True, f"{device.name}: {device.chip}, tier {device.tier}")]
    findings += [
        Finding("cpu", True, f"{hardware.cpu}, {hardware.physical_cores} cores, {hardware.memory_mib / 1024:.0f} GiB")
    ]
    if not hardware.gpus and not hardware.gpu_problems:
        findings += [Finding("gpu", False, "no NVIDIA GPU", "an NVIDIA GPU with its driver")]
    findings += [Finding(f"gpu {gpu.index}", True, _card(gpu)) for gpu in hardware.gpus]
    findings += [Finding("gpu", False, problem) for problem in hardware.gpu_problems]
    findings += [Finding("device=auto", True, note) for note in device.notes]
    return findings


def _card(gpu: devices.Gpu) -> str:
    memory = f"{gpu.memory_mib / 1024:.0f} GiB" if gpu.memory_mib is not None else "memory unknown"
    parts = [gpu.name, memory, f"driver {gpu.driver or 'unknown'}"]
    parts += [f"for CUDA {gpu.cuda_version}"] if gpu.cuda_version else []
    return ", ".join(parts)


def _runtimes(device: devices.Device) -> list[Finding]:
    """Run a tiny network of each installed runtime on the processor, and on the GPU if there is one."""
    targets = [_PROCESSOR] + ([device] if device.kind == "cuda" else [])
    pairs = [(name, on) for name in RUNTIMES for on in targets if precisions(name, compute_unit=on.compute_unit)]
    installed = {name: installed_version(RUNTIMES[name].distribution) for name in RUNTIMES}
    networks = {(name, on): (RUNTIMES[name].preflight or name, on) for name, on in pairs}
    checks = {network for (name, _), network in networks.items() if installed[name]}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        proofs = dict(zip(checks, pool.map(lambda check: _proof(*check), checks), strict=True))
    return [_runtime(name, on, installed[name], proofs.get(networks[name, on])) for name, on in pairs]


def _proof(name: str, device: devices.Device) -> tuple[bool, str]:
    """Return whether the runtime runs on the device, with its provider or the reason."""
    try:
        placed = preflight.prove(devices.LocalHost(), device, RuntimeConfig(name, threads=1), "fp32")
    except FrmError as error:
        return False, preflight.reason_of(error)
    return True, placed.provider


def _runtime(name: str, device: devices.Device, version: str, proof: tuple[bool, str] | None) -> Finding:
    package, extra = RUNTIMES[name].distribution, RUNTIMES[name].extra
    subject = name if device is _PROCESSOR else f"{name} on {device.name}"
    if proof is None:
        return Finding(subject, False, f"'{package}' is not installed", f"pip install 'frm-mlflow[{extra}]'")
    runs, words = proof
    if not runs:
        return Finding(subject, False, f"{package} {version}: {words}")
    kinds = ", ".join(precisions(name, compute_unit=device.compute_unit))
    return Finding(subject, True, f"{package} {version}: {kinds} ({words})")


def _energy(device: devices.Device) -> Finding:
    meter = energy_meter(device.kind, device.index)
    if meter is not None:
        return Finding("energy", True, f"zeus: {meter.counter}")
    return Finding("energy", False, "no meter", f"RAPL, NVML or another counter; {install_command('energy')}")


def _ssh() -> Finding:
    program = shutil.which("ssh")
    if program is None:
        return Finding("ssh", False, "no ssh client", "apt install openssh-client")
    done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=_ASK_S, check=False)
    return Finding("ssh", True, done.stderr.strip().split(",")[0], "device.transport=ssh device.host=USER@HOST")


def _adb() -> Finding:
    """Return the phones that adb detects; as with any use of adb, this starts its server."""
    program = shutil.which("adb")
    if program is None:
        return Finding("adb", False, "no adb", "apt install adb, for device=phone")
    try:
        done = subprocess.run([program, "devices"], capture_output=True, text=True, timeout=_ASK_S, check=False)
    except subprocess.TimeoutExpired:
        return Finding("adb", False, "its server does not answer", "adb kill-server")
    phones = devices.phones(done.stdout)
    states = ", ".join(f"{serial}: {state}" for serial, state in phones.items())
    return Finding("adb", bool(phones), states or "no phone is plugged in", "device=phone device.binary=PATH")


def _server() -> Finding:
    planned = server.database_to_make()
    if planned is not None:
        return Finding(
            "server",
            True,
            f"none yet: the first run makes {planned}",
            "MLFLOW_TRACKING_URI=http://..., a server for all",
        )
    try:
        client = server.connect()
    except FrmError as error:
        return Finding("server", False, str(error))
    return Finding("server", True, client.tracking_uri)


def _spool() -> Finding:
    waiting, aside = len(spool.pending()), len(spool.set_aside())
    unread = f"{aside} could not be read" if aside else ""
    if waiting:
        return Finding("kept results", False, f"{waiting} wait on disk; {unread}".strip("; "), "frm-mlflow resend")
    remedy = f"repair or delete what is in {spool.spool_directory() / spool.SET_ASIDE}" if aside else ""
    return Finding("kept results", not aside, unread or "none wait", remedy)
