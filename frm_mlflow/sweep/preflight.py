"""Checks before the first export that each runtime and precision of a sweep can run a tiny network on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from frm_mlflow.config import PrecisionConfig, RuntimeConfig
from frm_mlflow.devices import Device, LocalHost, Phone, WorkerHost
from frm_mlflow.devices.placement import Placed, check, worker_target
from frm_mlflow.devices.resolve import CUDA
from frm_mlflow.errors import ConfigError, DeviceMismatchError, FrmError, MissingExtraError, TransportError, WorkerError
from frm_mlflow.worker.runtimes import AUTO_ON_CUDA, DEFAULT, RUNTIMES

_TIMEOUT_S = 120.0
_proved_here: dict[str, Placed] = {}
"""Results of checks by this process on this machine: a multirun checks once per runtime, not once per job."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime that `runtime=auto` resolves to on a device, and why."""

    runtime: str
    reason: str


def refuse_what_cannot_run(
    host: WorkerHost | Phone, device: Device, pairs: Sequence[tuple[RuntimeConfig, PrecisionConfig]]
) -> None:
    """Raise for the runtimes and precisions that cannot run on the device, before anything is exported.

    Raises
    ------
    ConfigError
        If any cannot run, with one sentence for each: the problem, and the command that fixes it.
    TransportError
        If the device cannot be reached.
    """
    if isinstance(host, Phone):
        return
    problems = []
    for runtime, precision in pairs:
        try:
            prove(host, device, runtime, precision.name)
        except TransportError:
            raise
        except FrmError as error:
            problems.append((runtime, precision, error))
    if len(problems) == 1 and isinstance(problems[0][2], MissingExtraError | DeviceMismatchError):
        raise problems[0][2]
    if problems:
        raise ConfigError("\n".join(_sentence(device, *problem) for problem in problems))


def prove(host: WorkerHost, device: Device, runtime: RuntimeConfig, precision: str) -> Placed:
    """Run a tiny network of `runtime` in `precision` on the device and return where it ran.

    Raises
    ------
    DeviceMismatchError
        If it ran on a different device.
    WorkerError
        If it did not run; the message begins with the runtime's reason.
    MissingExtraError
        If the runtime is not installed.
    """
    threads = runtime.threads or host.hardware.physical_cores
    target = worker_target(device, runtime, threads=threads, precision=precision)
    key = repr((device, target))
    if isinstance(host, LocalHost) and key in _proved_here:
        return _proved_here[key]
    with closing(host.open_worker(f"{runtime.name}'s preflight worker", threads=threads)) as worker:
        reply = worker.request("preflight", timeout_s=_TIMEOUT_S, **target)
    placed = check(device, runtime, reply, precision=precision)
    if isinstance(host, LocalHost):
        _proved_here[key] = placed
    return placed


def choose(
    host: WorkerHost, device: Device, settings: Callable[[str], RuntimeConfig], precision: str = "fp32"
) -> Choice:
    """Return the runtime for `runtime=auto`: on a GPU the first one that works there, else ONNX Runtime.

    Parameters
    ----------
    settings
        Returns the settings of a runtime by its name.

    Raises
    ------
    ConfigError
        If no runtime works on the GPU, with the reason for each.
    """
    if device.kind != CUDA:
        return Choice(DEFAULT, f"it is the default on {device.kind}")
    problems: list[str] = []
    for name in AUTO_ON_CUDA:
        if precision not in RUNTIMES[name].cuda:
            problems.append(f"{name}: it has no {precision} kernels there")
            continue
        try:
            placed = prove(host, device, settings(name), precision)
        except TransportError:
            raise
        except FrmError as error:
            problems.append(f"{name}: {reason_of(error)}")
            continue
        return Choice(name, "; ".join([f"{placed.provider} runs on {device.name}", *problems]))
    raise ConfigError(f"device={device.name}: no runtime runs on {device.chip}.\n" + "\n".join(problems))


def reason_of(error: FrmError) -> str:
    """Return the first line of an error; for a worker's error, the worker's own message."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, WorkerError):
        line = line.removesuffix(" (at 'preflight').").partition("preflight worker ")[2] or line
    return line


def _sentence(device: Device, runtime: RuntimeConfig, precision: PrecisionConfig, error: FrmError) -> str:
    return f"runtime={runtime.name} precision={precision.name} cannot run on device={device.name}: {reason_of(error)}"
