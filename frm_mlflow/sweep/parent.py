"""The parent run of a sweep: opened or resumed by the process that runs the sweep, shared by the jobs of a multirun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from mlflow import MlflowClient
from omegaconf import DictConfig

from frm_mlflow import schema
from frm_mlflow.config import TrackingConfig
from frm_mlflow.devices import Device
from frm_mlflow.records import content_hash
from frm_mlflow.sweep.ownership import refuse_if_alive, runner_tags
from frm_mlflow.sweep.plan import BenchmarkPlan, is_of_the_sweep
from frm_mlflow.sweep.run import OpenSweep
from frm_mlflow.tracking import server
from frm_mlflow.tracking.resume import runner_of, unfinished_sweep
from frm_mlflow.tracking.runs import open_sweep
from frm_mlflow.tracking.spool import resend

LONGEST_NAME = 120
"""Maximum length of a run's name; the parameters contain the full sweep."""

SHARED_SWEEP: ContextVar[OpenSweep | None] = ContextVar("SHARED_SWEEP", default=None)
"""The parent run for all jobs of a Hydra multirun."""


@contextmanager
def opened_for(
    client: MlflowClient, plans: Sequence[BenchmarkPlan], device: Device, *, sweep_hash: str, parent: str | None
) -> Iterator[OpenSweep]:
    """Open or resume the parent run of a sweep on one device."""
    tracking = plans[0].settings.tracking
    refuse_running(client, parent, resume=plans[0].settings.resume)
    names = list(dict.fromkeys(plan.settings.model.name for plan in plans))
    opened = open_sweep(
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


@contextmanager
def opened_for_multirun(client: MlflowClient, config: DictConfig, tracking: TrackingConfig) -> Iterator[OpenSweep]:
    """Open or resume the parent run of a multirun, and share it with the multirun's jobs."""
    sweep_hash = multirun_hash(config)
    parent = resumed(client, tracking, sweep_hash, resume=bool(config.resume))
    refuse_running(client, parent, resume=bool(config.resume))
    opened = open_sweep(
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
            yield sweep
        finally:
            SHARED_SWEEP.reset(token)


def multirun_name(config: DictConfig) -> str:
    """Return the name of a multirun's parent, with its sweeps: `multirun · model=resnet18,levit_128s · runtime=…`."""
    swept = [w for w in config.hydra.overrides.task if "," in w.partition("=")[2] and not is_of_the_sweep(w)]
    name = " · ".join(["multirun", *swept])
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def multirun_hash(config: DictConfig) -> str:
    """Return a hash that identifies a multirun: all settings in any order, except how it is run and logged."""
    return content_hash({"multirun": sorted(w for w in config.hydra.overrides.task if not is_of_the_sweep(w))})


def resumed(client: MlflowClient, tracking: TrackingConfig, sweep_hash: str, *, resume: bool) -> str | None:
    """Return the run to continue: the configured one, else the newest unfinished one of the same sweep.

    Results spooled on disk for this server are sent first, so that they are not measured again.
    """
    if resume:
        resend(only=client.tracking_uri)
    if resume and tracking.parent_run_id is None:
        experiment = server.experiment_name(client, tracking.experiment)
        return unfinished_sweep(client, experiment, config_hash=sweep_hash)
    return tracking.parent_run_id


def refuse_running(client: MlflowClient, parent: str | None, *, resume: bool) -> None:
    """Refuse to resume a sweep whose process still runs here, even one of an earlier version without a lease."""
    if resume and parent is not None:
        host, process = runner_of(client, parent)
        refuse_if_alive(parent, host=host, process=process)
