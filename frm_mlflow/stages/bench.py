"""`frm-mlflow bench`: plan and check everything first, then run the sweep under one parent run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import hydra
from omegaconf import DictConfig

from frm_mlflow import devices, export, schema
from frm_mlflow.config import TrackingConfig, checked
from frm_mlflow.devices import Device, Host, Phone
from frm_mlflow.errors import ConfigError
from frm_mlflow.records import content_hash
from frm_mlflow.stages.plan import BenchmarkPlan, plan_benchmarks
from frm_mlflow.stages.sweep import Bench, OpenSweep, publish, raise_for_failures, run_all
from frm_mlflow.tracking import log, server

SHARED_SWEEP: ContextVar[OpenSweep | None] = ContextVar("SHARED_SWEEP", default=None)
"""The parent run that all jobs of a Hydra multirun log under."""


def bench(config: DictConfig, *, overrides: Sequence[str]) -> None:
    """Benchmark what `config` names and log it.

    Raises
    ------
    ConfigError
        For settings, names or a device that cannot be used; nothing is measured or logged then.
    TransportError
        Where a device elsewhere cannot be reached or lacks something; nothing is measured then.
    TrackingError
        Where the tracking server does not answer; nothing is measured then.
    SweepError
        At the end, where a benchmark FAILED.
    """
    plans = plan_benchmarks(config, overrides, lambda words: hydra.compose("bench", overrides=words))
    with devices.opened(plans[0].settings.device) as host:
        _bench_on(host, plans)


def _bench_on(host: Host, plans: Sequence[BenchmarkPlan]) -> None:
    settings = plans[0].settings
    device = devices.resolve(settings.device, hardware=host.hardware, known=devices.known_devices())
    if isinstance(host, Phone) and settings.accuracy.mode == "measured":
        raise ConfigError("accuracy=measured needs a worker, and a phone has none: choose accuracy=published")
    for plan in plans:
        chosen = plan.settings
        export.check(chosen.runtime.name, chosen.precision.name, compute_unit=device.export_unit)
    shared = SHARED_SWEEP.get()
    if shared is not None:
        run_all(plans, Bench.on(device, host), shared)
        return
    with _opened(settings.tracking, plans, device, resume=settings.resume) as sweep:
        run_all(plans, Bench.on(device, host), sweep)
        publish(sweep, as_json=settings.json)
    raise_for_failures(sweep.run)


@contextmanager
def shared_sweep(config: DictConfig) -> Iterator[None]:
    """Open one parent run for all jobs of a multirun; publish its leaderboard when they are done."""
    tracking = checked(TrackingConfig, config.tracking, where="tracking")
    client = server.connect(tracking.uri)
    with log.open_sweep(client, tracking.experiment, name="multirun", tags=tracking.tags) as run:
        sweep = OpenSweep(run)
        token = SHARED_SWEEP.set(sweep)
        try:
            yield
        finally:
            SHARED_SWEEP.reset(token)
            publish(sweep, as_json=bool(config.json))
    raise_for_failures(run)


@contextmanager
def _opened(
    tracking: TrackingConfig, plans: Sequence[BenchmarkPlan], device: Device, *, resume: bool
) -> Iterator[OpenSweep]:
    client = server.connect(tracking.uri)
    sweep_hash = content_hash([plan.config_hash(device=device.name, chip=device.chip) for plan in plans])
    parent = tracking.parent_run_id
    if resume and parent is None:
        parent = log.unfinished_sweep(client, tracking.experiment, config_hash=sweep_hash)
    if resume and parent is not None:
        log.close_orphans(client, parent, reason="the sweep was killed; resumed")
    names = list(dict.fromkeys(plan.settings.model.name for plan in plans))
    opened = log.open_sweep(
        client,
        tracking.experiment,
        name=f"{names[0] if len(names) == 1 else f'{len(names)} models'} · {device.name}",
        description=f"Benchmarks of {', '.join(names)} on {device.name} ({device.chip}).",
        tags=tracking.tags | {schema.DEVICE.key: device.name, schema.CONFIG_HASH.key: sweep_hash},
        parent_run_id=parent,
    )
    with opened as run:
        yield OpenSweep(run)
