"""Checks whether a runtime can be exported to, before anything is built. Looking this up imports no runtime."""

from __future__ import annotations

import importlib.util

from frm_mlflow.errors import ConfigError, MissingExtraError
from frm_mlflow.worker.runtimes import RUNTIMES, Runtime, installed_version


def runtime_named(name: str) -> Runtime:
    """Return the registry's entry of a runtime.

    Raises
    ------
    ConfigError
        For an unknown runtime; the message lists the supported ones.
    """
    if name not in RUNTIMES:
        raise ConfigError(f"unknown runtime '{name}'; valid: {', '.join(RUNTIMES)}")
    return RUNTIMES[name]


def precisions(runtime: str, *, compute_unit: str = "cpu") -> tuple[str, ...]:
    """Return the precisions for which the runtime has kernels on a compute unit (`cpu` or `gpu`)."""
    entry = runtime_named(runtime)
    return entry.cpu if compute_unit == "cpu" else entry.cuda


def check(runtime: str, precision: str, *, compute_unit: str = "cpu") -> None:
    """Reject a combination that cannot be exported, before anything is built or measured.

    Raises
    ------
    ConfigError
        For an unknown runtime, or a precision for which it has no kernels on the compute unit.
    MissingExtraError
        If the runtime's packages are not installed.
    """
    supported = precisions(runtime, compute_unit=compute_unit)
    if not supported:
        units = [unit for unit in ("cpu", "gpu") if precisions(runtime, compute_unit=unit)]
        raise ConfigError(f"runtime '{runtime}' does not run on compute unit '{compute_unit}', only on {units[0]}")
    if precision not in supported:
        raise ConfigError(
            f"runtime '{runtime}' has no {precision} kernels on compute unit '{compute_unit}'; "
            f"supported: {', '.join(supported)}"
        )
    for package in RUNTIMES[runtime].packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, RUNTIMES[runtime].extra, f"runtime '{runtime}'")


def exported_as(runtime: str) -> str:
    """Return the runtime whose exported model `runtime` loads: itself, or the one that it shares a model with."""
    return runtime_named(runtime).exported_model or runtime


def versions(runtime: str, source: str) -> dict[str, str]:
    """Return the versions of the libraries that affect an export: the runtime, torch and the network's source."""
    names = set(runtime_named(runtime).packages.values()) | {"torch"}
    if source in ("torchvision", "timm"):
        names.add(source)
    return {name: installed_version(name) for name in sorted(names)}
