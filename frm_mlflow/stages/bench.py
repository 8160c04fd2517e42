"""`frm-mlflow bench`: plans and checks everything first, then runs the sweep under one parent run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import hydra
from mlflow import MlflowClient
from omegaconf import DictConfig

from frm_mlflow import devices, export, schema
from frm_mlflow.config import ModelConfig, RuntimeConfig, TrackingConfig, checked
from frm_mlflow.devices import Device, Host, Phone
from frm_mlflow.errors import ConfigError, FrmError
from frm_mlflow.records import content_hash
from frm_mlflow.stages.alive import refuse_if_alive, runner_tags
from frm_mlflow.stages.compose import composed
from frm_mlflow.stages.overrides import quoted
from frm_mlflow.stages.plan import AUTO, BenchmarkPlan, Compose, is_of_the_sweep, key_of, plan_benchmarks
from frm_mlflow.stages.preflight import choose, refuse_what_cannot_run
from frm_mlflow.stages.progress import console
from frm_mlflow.stages.sweep import Bench, OpenSweep, raise_for_failures, run_all
from frm_mlflow.tracking import log, server
from frm_mlflow.tracking.views import print_links
from frm_mlflow.zoo.recipe import check_name

LONGEST_NAME = 120
"""Maximum length of a run's name; the parameters contain the full sweep."""

SHARED_SWEEP: ContextVar[OpenSweep | None] = ContextVar("SHARED_SWEEP", default=None)
"""The parent run for all jobs of a Hydra multirun."""


def bench(config: DictConfig, *, overrides: Sequence[str], search_path: Sequence[str] = ()) -> None:
    """Run the benchmarks in `config` and log them.

    Parameters
    ----------
    overrides
        The command-line overrides from which `config` was composed.
    search_path
        Those overrides that set `hydra.searchpath`, where a user's own groups are found.

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
            plans = _with_runtime_of(device, host, config, overrides, compose)
        _bench_on(host, device, plans)


def find_user_code(models: Iterable[ModelConfig]) -> None:
    """Append the working directory to the module path of this process and its workers, to find a user's code."""
    directory = str(Path.cwd())
    if any(model.source == "target" for model in models) and directory not in sys.path:
        sys.path.append(directory)


def _with_runtime_of(
    device: Device, host: Host, config: DictConfig, overrides: Sequence[str], compose: Compose
) -> tuple[BenchmarkPlan, ...]:
    """Return the plans with `runtime=auto` resolved for this GPU, and print the chosen runtime and the reason."""
    kept = [word for word in overrides if key_of(word) not in {"runtime", "runtimes"}]

    def settings(name: str) -> RuntimeConfig:
        return checked(RuntimeConfig, compose([*kept, f"runtime={name}"]).runtime, where="runtime")

    precision = str((config.precisions or [config.precision.name])[0])
    choice = choose(host, device, settings, precision)
    console().print(f"runtime={choice.runtime}: {choice.reason}", markup=False, highlight=False, soft_wrap=True)
    return plan_benchmarks(config, overrides, compose, automatic=choice.runtime)


def _bench_on(host: Host, device: Device, plans: Sequence[BenchmarkPlan]) -> None:
    settings = plans[0].settings
    if isinstance(host, Phone) and settings.accuracy.mode == "measured":
        raise ConfigError("accuracy=measured needs a worker, and a phone has none: choose accuracy=published")
    for plan in plans:
        chosen = plan.settings
        export.check(chosen.runtime.name, chosen.precision.name, compute_unit=device.export_unit)
        check_name(chosen.model)
        export.check_model(chosen.model, chosen.precision, batch_size=chosen.batch_size)
    groups = {(str(p.settings.runtime), p.settings.precision.name): p.settings for p in plans}
    refuse_what_cannot_run(host, device, [(each.runtime, each.precision) for each in groups.values()])
    shared = SHARED_SWEEP.get()
    if shared is not None:
        run_all(plans, Bench.on(device, host), shared)
        return
    _alone(host, device, plans)


def _alone(host: Host, device: Device, plans: Sequence[BenchmarkPlan]) -> None:
    """Run a standalone sweep: show the plan before it, and the leaderboard and analyses after it."""
    # Imported here because a fleet's job logs under another process's sweep and need not pay for this import.
    from frm_mlflow.stages.publish import publish
    from frm_mlflow.stages.schedule import read_past, schedule, show

    settings = plans[0].settings
    server.limit_retries()
    client = server.connect(settings.tracking.uri)
    sweep_hash = content_hash([plan.config_hash(device=device.name, chip=device.chip) for plan in plans])
    parent = _resumed(client, settings.tracking, sweep_hash, resume=settings.resume)
    past = read_past(client, server.experiment_name(client, settings.tracking.experiment), parent_run_id=parent)
    ahead = schedule(((device.name, plan) for plan in plans), past)
    show(ahead, out=console(), as_json=settings.json, in_full=settings.dry_run)
    if settings.dry_run:
        return
    with _opened(client, plans, device, sweep_hash=sweep_hash, parent=parent) as sweep:
        run_all(plans, Bench.on(device, host), sweep)
        publish(sweep, as_json=settings.json, max_drift=settings.max_drift)
    analyze_after(sweep, settings.analysis, baseline=plans[0].baseline.name)
    print_links(client, sweep.run.experiment, console())
    raise_for_failures(sweep.run)


def composer(search_path: Sequence[str] = ()) -> Compose:
    """Return a function that composes the configuration of a benchmark within a Hydra application."""
    return lambda words: hydra.compose("bench", overrides=[*search_path, *words])


@contextmanager
def shared_sweep(config: DictConfig) -> Iterator[None]:
    """Open one parent run for all jobs of a multirun; when they are done, publish its leaderboard and run analyses.

    With `dry_run` no run is opened: each job, or the launcher for all of them, shows what would run.
    """
    from frm_mlflow.stages.publish import publish

    tracking = checked(TrackingConfig, config.tracking, where="tracking")
    if config.dry_run:
        yield
        return
    server.limit_retries()
    client = server.connect(tracking.uri)
    sweep_hash = multirun_hash(config)
    parent = _resumed(client, tracking, sweep_hash, resume=bool(config.resume))
    refuse_running(client, parent, resume=bool(config.resume))
    opened = log.open_sweep(
        client,
        server.experiment_name(client, tracking.experiment),
        name=multirun_name(config),
        tags=tracking.tags | runner_tags() | {schema.CONFIG_HASH.key: sweep_hash},
        parent_run_id=parent,
        resume=bool(config.resume),
    )
    with opened as run:
        sweep = OpenSweep(run)
        token = SHARED_SWEEP.set(sweep)
        try:
            yield
        finally:
            SHARED_SWEEP.reset(token)
            publish(sweep, as_json=bool(config.json), max_drift=float(config.max_drift))
    analyze_after(sweep, config.analysis, baseline=str(config.baseline).rpartition(":")[2])
    print_links(client, run.experiment, console())
    raise_for_failures(run)


def multirun_name(config: DictConfig) -> str:
    """Return the name of a multirun's parent, with its sweeps: `multirun · model=resnet18,levit_128s · runtime=…`."""
    swept = [w for w in config.hydra.overrides.task if "," in w.partition("=")[2] and not is_of_the_sweep(w)]
    name = " · ".join(["multirun", *swept])
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def multirun_hash(config: DictConfig) -> str:
    """Return a hash that identifies a multirun: all settings in any order, except how it is run and logged."""
    return content_hash({"multirun": sorted(w for w in config.hydra.overrides.task if not is_of_the_sweep(w))})


@contextmanager
def _opened(
    client: MlflowClient, plans: Sequence[BenchmarkPlan], device: Device, *, sweep_hash: str, parent: str | None
) -> Iterator[OpenSweep]:
    tracking = plans[0].settings.tracking
    refuse_running(client, parent, resume=plans[0].settings.resume)
    names = list(dict.fromkeys(plan.settings.model.name for plan in plans))
    opened = log.open_sweep(
        client,
        server.experiment_name(client, tracking.experiment),
        name=f"{names[0] if len(names) == 1 else f'{len(names)} models'} · {device.name}",
        description=f"Benchmarks of {', '.join(names)} on {device.name} ({device.chip}).",
        tags=tracking.tags | runner_tags() | {schema.DEVICE.key: device.name, schema.CONFIG_HASH.key: sweep_hash},
        parent_run_id=parent,
        resume=plans[0].settings.resume,
    )
    with opened as run:
        yield OpenSweep(run)


def _resumed(client: MlflowClient, tracking: TrackingConfig, sweep_hash: str, *, resume: bool) -> str | None:
    """Return the run to continue: the configured one, else the newest unfinished one of the same sweep.

    Results spooled on disk for this server are sent first, so that they are not measured again.
    """
    if resume:
        log.resend(only=client.tracking_uri)
    if resume and tracking.parent_run_id is None:
        experiment = server.experiment_name(client, tracking.experiment)
        return log.unfinished_sweep(client, experiment, config_hash=sweep_hash)
    return tracking.parent_run_id


def refuse_running(client: MlflowClient, parent: str | None, *, resume: bool) -> None:
    """Refuse to resume a sweep whose process still runs here, even one of an earlier version without a lease."""
    if resume and parent is not None:
        host, process = log.runner_of(client, parent)
        refuse_if_alive(parent, host=host, process=process)


def analyze_after(sweep: OpenSweep, names: Any, *, baseline: str) -> None:
    """Run the requested analyses over the sweep's experiment, whether or not its benchmarks succeeded.

    Ratios are relative to the sweep's `baseline`.

    Failed analyses are reported and do not hide the outcome of the sweep itself.
    """
    from frm_mlflow.stages.analyze import analyze
    from frm_mlflow.stages.history import listed

    chosen = ",".join(listed(names))
    if not chosen:
        return
    settings = [f"analysis=[{chosen}]", f"baseline={quoted(baseline)}"]
    settings.append(f"tracking.uri={quoted(sweep.run.client.tracking_uri)}")
    settings.append(f"tracking.experiment={quoted(sweep.run.experiment)}")
    try:
        analyze(composed("analyze", settings))
    except FrmError as error:
        console().print(f"No analysis: {error}", markup=False, highlight=False, soft_wrap=True)
