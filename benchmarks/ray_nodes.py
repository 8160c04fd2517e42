"""Start real Ray nodes on this machine with `ray start`, as in docs/fleet.md, for benchmarks and tests.

Every node is a separate process group with its cluster's token. `Fleet.stop` leaves no process behind.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.mlflow_server import free_port

_RAY = str(Path(sys.executable).parent / "ray")
_OBJECT_STORE_BYTES = 80_000_000
_QUICK_TO_NOTICE = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
    # Starting a node on a loaded machine takes longer than Ray's default timeout.
    "RAY_raylet_start_wait_time_s": "240",
}
"""Settings with which a dead node is detected in seconds instead of half a minute."""


@dataclass
class Fleet:
    """A Ray cluster of processes on this machine."""

    folder: Path
    port: int
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Return the address for `ray.init` and `hydra.launcher.address`."""
        return f"127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment that a process needs to connect to the cluster."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
        }

    def start(self, name: str, *options: str, environ: Mapping[str, str] | None = None) -> None:
        """Start a node and return once it has joined."""
        command = [_RAY, "start", "--block", "--disable-usage-stats", f"--object-store-memory={_OBJECT_STORE_BYTES}"]
        command += ["--node-ip-address=127.0.0.1", *options]
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:  # truncated, so that an earlier node of this name is not mistaken for it
            self.nodes[name] = subprocess.Popen(
                command,
                env={**os.environ, **_QUICK_TO_NOTICE, **self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._wait_until_started(name, log)

    def head(self) -> None:
        """Start the head, which has no device."""
        self.start(
            "head",
            "--head",
            f"--port={self.port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--temp-dir={self.folder}",
        )

    def node(
        self, name: str, devices: Mapping[str, float], *, environ: Mapping[str, str] | None = None, cpus: int = 1
    ) -> None:
        """Start a node that has `devices` and starts `cpus` Ray workers at a time.

        It represents a separate machine: a benchmark on it does not wait for benchmarks on other nodes.
        """
        resources = json.dumps({f"device_{device}": amount for device, amount in devices.items()})
        environ = {"FRM_MLFLOW_LOCKS": str(self.folder / f"{name}-locks"), **(environ or {})}
        self.start(name, f"--address={self.address}", f"--num-cpus={cpus}", f"--resources={resources}", environ=environ)

    def kill(self, name: str) -> None:
        """Kill a node and all of its processes at once, as a power cut would."""
        process = self.nodes.pop(name)
        _kill_tree(process)

    def stop(self) -> None:
        """Stop every node and remove the folder."""
        for name in reversed(list(self.nodes)):
            self.kill(name)
        for left in processes_of(self.folder):
            with suppress(psutil.NoSuchProcess):
                left.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_started(self, name: str, log: Path, *, timeout_s: float = 300.0) -> None:
        deadline = time.monotonic() + timeout_s
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if self.nodes[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Ray node {name} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes whose command line contains the cluster's folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(folder) in word for word in process.cmdline()):
                found.append(process)
    return found


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        for victim in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
    process.wait()


@contextmanager
def running_fleet() -> Iterator[Fleet]:
    """Yield a cluster with only a head; it and all nodes that have joined are stopped at the end of the block."""
    # Ray's sockets are in this folder, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="frmray", dir="/tmp"))
    (folder / "token").write_text(secrets.token_hex(32))
    (folder / "token").chmod(0o600)
    fleet = Fleet(folder, free_port())
    try:
        fleet.head()
        yield fleet
    finally:
        fleet.stop()
