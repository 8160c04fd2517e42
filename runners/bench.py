"""`frm-mlflow bench`, `mlflow run .`: benchmark models against a baseline and log one run per model."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from frm_mlflow import multirun, redact
from frm_mlflow.config import TrackingConfig, checked
from frm_mlflow.devices import Device, Phone, WorkerHost
from frm_mlflow.errors import ConfigError, FrmError
from frm_mlflow.exits import exit_code, sentence
from frm_mlflow.overrides import quoted
from frm_mlflow.progress import console
from frm_mlflow.records import content_hash
from frm_mlflow.sweep.compose import composed
from frm_mlflow.sweep.job import run_job
from frm_mlflow.sweep.parent import opened_for, opened_for_multirun, resumed
from frm_mlflow.sweep.plan import BenchmarkPlan
from frm_mlflow.sweep.publish import publish
from frm_mlflow.sweep.run import Bench, OpenSweep, raise_for_failures, run_all
from frm_mlflow.sweep.schedule import read_past, schedule, show
from frm_mlflow.tracking import server
from frm_mlflow.tracking.history import listed
from frm_mlflow.tracking.views import print_links

from .analyze import analyze

ONE_AT_A_TIME = ("hydra._internal.core_plugins.basic_launcher.BasicLauncher",)
OURS = "hydra_plugins.frm_mlflow_launchers."


def bench(config: DictConfig) -> None:
    """Run the benchmarks in `config` and log them; see `sweep.job.run_job` for the errors.

    Raises
    ------
    SweepError
        At the end, if a benchmark FAILED.
    """
    words = HydraConfig.get().overrides
    search_path = [word for word in words.hydra if word.startswith("hydra.searchpath=")]
    run_job(config, overrides=list(words.task), search_path=search_path, alone=_alone)


def _alone(host: WorkerHost | Phone, device: Device, plans: Sequence[BenchmarkPlan]) -> None:
    """Run a standalone sweep: show the plan before it, and the leaderboard and analyses after it."""
    settings = plans[0].settings
    server.limit_retries()
    client = server.connect(settings.tracking.uri)
    sweep_hash = content_hash([plan.config_hash(device=device.name, chip=device.chip) for plan in plans])
    parent = resumed(client, settings.tracking, sweep_hash, resume=settings.resume)
    past = read_past(client, server.experiment_name(client, settings.tracking.experiment), parent_run_id=parent)
    ahead = schedule(((device.name, plan) for plan in plans), past)
    show(ahead, out=console(), as_json=settings.json, in_full=settings.dry_run)
    if settings.dry_run:
        return
    with opened_for(client, plans, device, sweep_hash=sweep_hash, parent=parent) as sweep:
        run_all(plans, Bench.on(device, host), sweep)
        publish(sweep, as_json=settings.json, max_drift=settings.max_drift)
    _analyze_after(sweep, settings.analysis, baseline=plans[0].baseline.name)
    print_links(client, sweep.run.experiment, console())
    raise_for_failures(sweep.run)


class SweepCallback(Callback):
    """Opens the parent run when a multirun starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run for all jobs of this multirun."""
        scope = multirun.current()
        redact.remember(cast(dict[str, Any], OmegaConf.to_container(config)))
        try:
            refuse_side_by_side(config.hydra.launcher)
            if scope is not None:
                scope.enter_context(_shared_sweep(config))
        except FrmError as error:  # Hydra would turn it into a warning and continue
            sys.stderr.write(f"frm-mlflow: {sentence(error)}\n")
            raise SystemExit(exit_code(error)) from error


def refuse_side_by_side(launcher: DictConfig) -> None:
    """Raise `ConfigError` for a launcher that runs jobs in parallel without regard to their devices."""
    target = str(launcher.get("_target_"))
    if target not in ONE_AT_A_TIME and not target.startswith(OURS):
        name = target.split(".")[1].removeprefix("hydra_").removesuffix("_launcher") if "." in target else target
        raise ConfigError(
            f"hydra/launcher={name} runs jobs side by side, and benchmarks on one device would disturb each other: "
            "leave it out (one after the other), or take hydra/launcher=frm_ray or frm_slurm, which give each job a "
            "device of its own"
        )


@contextmanager
def _shared_sweep(config: DictConfig) -> Iterator[None]:
    """Open one parent run for all jobs of a multirun; when they are done, publish its leaderboard and run analyses.

    With `dry_run` no run is opened: each job, or the launcher for all of them, shows what would run.
    """
    tracking = checked(TrackingConfig, config.tracking, where="tracking")
    if config.dry_run:
        yield
        return
    server.limit_retries()
    client = server.connect(tracking.uri)
    with opened_for_multirun(client, config, tracking) as sweep:
        try:
            yield
        finally:
            publish(sweep, as_json=bool(config.json), max_drift=float(config.max_drift))
    _analyze_after(sweep, config.analysis, baseline=str(config.baseline).rpartition(":")[2])
    print_links(client, sweep.run.experiment, console())
    raise_for_failures(sweep.run)


def _analyze_after(sweep: OpenSweep, names: Any, *, baseline: str) -> None:
    """Run the requested analyses over the sweep's experiment, whether or not its benchmarks succeeded.

    Ratios are relative to the sweep's `baseline`.

    Failed analyses are reported and do not hide the outcome of the sweep itself.
    """
    analyses = ",".join(listed(names))
    if not analyses:
        return
    settings = [f"analysis=[{analyses}]", f"baseline={quoted(baseline)}"]
    settings.append(f"tracking.uri={quoted(sweep.run.client.tracking_uri)}")
    settings.append(f"tracking.experiment={quoted(sweep.run.experiment)}")
    try:
        analyze(composed("analyze", settings))
    except FrmError as error:
        console().print(f"No analysis: {error}", markup=False, highlight=False, soft_wrap=True)
