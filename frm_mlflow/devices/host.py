"""Machines that have a device: this one or a remote one, with workers or, on a phone, without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cached_property
from typing import Any, Protocol

from frm_mlflow.config import DeviceConfig
from frm_mlflow.devices.client import Worker
from frm_mlflow.devices.environment import conditions, environment
from frm_mlflow.devices.hardware import Hardware, probe
from frm_mlflow.devices.local import open_local
from frm_mlflow.devices.phone import Phone
from frm_mlflow.devices.resolve import Device
from frm_mlflow.devices.ssh import SshHost
from frm_mlflow.devices.turn import Tell, local_name, turn_of
from frm_mlflow.errors import ConfigError
from frm_mlflow.worker.turns import take


class Host(Protocol):
    """A device's machine, which reports its hardware: a host of workers, or a phone."""

    @property
    def hardware(self) -> Hardware:
        """The hardware that the machine reports."""

    def conditions(self, device: Device) -> dict[str, float]:
        """Return what changes while the machine is running: load, clocks, temperatures, throttling."""

    def environment(self, device: Device) -> dict[str, Any]:
        """Return everything about the machine that belongs in the run's artifact, ready for JSON."""

    def turn(self, device: Device, *, holder: str, wait_s: float, tell: Tell) -> AbstractContextManager[None]:
        """Hold the device exclusively during a benchmark, after waiting for any other process that measures on it."""

    def prune(self, *, older_than_s: float) -> tuple[list[str], int]:
        """Remove copies that were not used for `older_than_s`; return their names and total bytes."""

    def close(self) -> None:
        """Disconnect from the machine; nothing of this program runs there afterwards."""


class WorkerHost(Host, Protocol):
    """A machine that can also start workers."""

    def open_worker(
        self,
        name: str,
        *,
        threads: int,
        affinity: Sequence[int] | None = None,
        memory_limit_mib: float | None = None,
    ) -> Worker:
        """Start a worker, called `name` in error messages; file paths in requests to it are the controller's."""


class LocalHost:
    """The machine that this process runs on."""

    @cached_property
    def hardware(self) -> Hardware:
        """The hardware of this machine."""
        return probe()

    def open_worker(
        self,
        name: str,
        *,
        threads: int,
        affinity: Sequence[int] | None = None,
        memory_limit_mib: float | None = None,
    ) -> Worker:
        """Start a worker as a subprocess."""
        return open_local(name=name, threads=threads, affinity=affinity, memory_limit_mib=memory_limit_mib)

    def conditions(self, device: Device) -> dict[str, float]:
        """Return what changes while this machine is running."""
        return conditions(device)

    def environment(self, device: Device) -> dict[str, Any]:
        """Return everything about this machine that belongs in the run's artifact."""
        return environment(device, self.hardware)

    def turn(self, device: Device, *, holder: str, wait_s: float, tell: Tell) -> AbstractContextManager[None]:
        """Hold a device of this machine exclusively."""
        return turn_of(take, local_name(device), holder=holder, wait_s=wait_s, tell=tell)

    def prune(self, *, older_than_s: float) -> tuple[list[str], int]:  # noqa: ARG002
        """Remove nothing: files are used in place on this machine."""
        return [], 0

    def close(self) -> None:
        """Do nothing: each worker ends with its own `close`."""


def with_workers(host: WorkerHost | Phone, purpose: str) -> WorkerHost:
    """Return the host for a purpose that needs workers.

    Raises
    ------
    ConfigError
        If it is a phone; `purpose` is the setting that needs workers.
    """
    if isinstance(host, Phone):
        raise ConfigError(f"{purpose} is not supported on phones: they run {host.tool} and no Python worker")
    return host


@contextmanager
def opened(config: DeviceConfig) -> Iterator[WorkerHost | Phone]:
    """Connect to the machine that `config` describes, and disconnect at the end.

    Raises
    ------
    TransportError
        If it cannot be reached or lacks something; the message gives the remedy.
    """
    if config.transport == "local":
        yield LocalHost()
        return
    with closing(Phone(config) if config.transport == "adb" else SshHost(config)) as host:
        yield host
