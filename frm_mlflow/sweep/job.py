"""One job of a sweep: plans its benchmarks, opens the device, checks everything and runs them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from frm_mlflow import devices, export
from frm_mlflow.config import ModelConfig, RuntimeConfig, checked
from frm_mlflow.devices import Device, Phone, WorkerHost, with_workers
from frm_mlflow.progress import console
from frm_mlflow.sweep.parent import SHARED_SWEEP
from frm_mlflow.sweep.plan import AUTO, BenchmarkPlan, Compose, key_of, plan_benchmarks
from frm_mlflow.sweep.preflight import choose, refuse_what_cannot_run
from frm_mlflow.sweep.run import Bench, run_all
from frm_mlflow.zoo.recipe import check_name

RunSweep = Callable[[WorkerHost | Phone, Device, Sequence[BenchmarkPlan]], None]
"""Runs the plans as a sweep with a parent run of its own."""


def run_job(
    config: DictConfig, *, overrides: Sequence[str], search_path: Sequence[str] = (), alone: RunSweep | None = None
) -> None:
    """Run the benchmarks in `config` and log them under the shared sweep, or as a sweep of their own.

    Parameters
    ----------
    overrides
        The command-line overrides from which `config` was composed.
    search_path
        Those overrides that set `hydra.searchpath`, which adds the user's own groups.
    alone
        Runs the plans if they are not part of a multirun.

    Raises
    ------
    ConfigError
        If settings, names or a device cannot be used; nothing is measured or logged then.
    TransportError
        If a remote device cannot be reached or lacks a requirement; nothing is measured then.
    TrackingError
        If the tracking server does not respond; nothing is measured then.
    SweepError
        At the end, if a benchmark FAILED.
    """
    compose = composer(search_path)
    plans = plan_benchmarks(config, overrides, compose)
    find_user_code(plan.settings.model for plan in plans)
    with devices.opened(plans[0].settings.device) as host:
        device = devices.resolve(plans[0].settings.device, hardware=host.hardware, known=devices.known_devices())
        for note in device.notes:
            console().print(note, markup=False, highlight=False, soft_wrap=True)
        if device.kind == "cuda" and AUTO in (config.runtimes or [config.runtime.name]):
            plans = _with_runtime_of(device, with_workers(host, "runtime=auto"), config, overrides, compose)
        check_plans(host, device, plans)
        shared = SHARED_SWEEP.get()
        if shared is not None:
            run_all(plans, Bench.on(device, host), shared)
        elif alone is not None:
            alone(host, device, plans)


def composer(search_path: Sequence[str] = ()) -> Compose:
    """Return a function that composes the configuration of a benchmark within a Hydra application."""
    return lambda words: hydra.compose("bench", overrides=[*search_path, *words])


def find_user_code(models: Iterable[ModelConfig]) -> None:
    """Append the working directory to the module path of this process and its workers, to find a user's code."""
    directory = str(Path.cwd())
    if any(model.source == "target" for model in models) and directory not in sys.path:
        sys.path.append(directory)


def _with_runtime_of(
    device: Device, host: WorkerHost, config: DictConfig, overrides: Sequence[str], compose: Compose
) -> tuple[BenchmarkPlan, ...]:
    """Return the plans with `runtime=auto` resolved for this GPU, and print the chosen runtime and the reason."""
    other_overrides = [word for word in overrides if key_of(word) not in {"runtime", "runtimes"}]

    def settings(name: str) -> RuntimeConfig:
        return checked(RuntimeConfig, compose([*other_overrides, f"runtime={name}"]).runtime, where="runtime")

    precision = str((config.precisions or [config.precision.name])[0])
    choice = choose(host, device, settings, precision)
    console().print(f"runtime={choice.runtime}: {choice.reason}", markup=False, highlight=False, soft_wrap=True)
    return plan_benchmarks(config, overrides, compose, automatic=choice.runtime)


def check_plans(host: WorkerHost | Phone, device: Device, plans: Sequence[BenchmarkPlan]) -> None:
    """Raise `ConfigError` for settings, models and runtimes that cannot run on the device, before any export."""
    settings = plans[0].settings
    if settings.accuracy.mode == "measured":
        with_workers(host, "accuracy=measured")
    for plan in plans:
        plan_settings = plan.settings
        export.check(plan_settings.runtime.name, plan_settings.precision.name, compute_unit=device.export_unit)
        check_name(plan_settings.model)
        export.check_model(plan_settings.model, plan_settings.precision, batch_size=plan_settings.batch_size)
    groups = {(str(p.settings.runtime), p.settings.precision.name): p.settings for p in plans}
    refuse_what_cannot_run(host, device, [(each.runtime, each.precision) for each in groups.values()])
