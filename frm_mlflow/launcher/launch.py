"""Entry point for Hydra: converts the sweeper's overrides to jobs, and a launcher's name to its module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from omegaconf import DictConfig

from frm_mlflow.config import TrackingConfig, checked
from frm_mlflow.errors import ConfigError
from frm_mlflow.launcher.fleet_sweep import FleetSettings, FleetSweep
from frm_mlflow.launcher.jobs import Job, in_order, job_of
from frm_mlflow.overrides import quoted
from frm_mlflow.progress import SweepProgress, console
from frm_mlflow.sweep.job import composer
from frm_mlflow.sweep.parent import SHARED_SWEEP, multirun_hash
from frm_mlflow.sweep.schedule import Past, read_past, schedule, show
from frm_mlflow.tracking import server
from frm_mlflow.tracking.resume import unfinished_sweep


def launch(
    name: str,
    settings: Mapping[str, Any],
    job_overrides: Sequence[Sequence[str]],
    *,
    config: DictConfig,
    loader: ConfigLoader,
    first: int,
) -> list[JobReturn]:
    """Run the jobs with the launcher `name` under the multirun's open sweep.

    The sweep records how each job ended, and raises an error for failed ones when it is closed: Hydra itself would
    stop at the first failure and skip the rest.

    Raises
    ------
    ConfigError
        If the command is not `bench`, a job has no device, or settings are unknown.
    """
    sweep = SHARED_SWEEP.get()
    if sweep is None and not config.get("dry_run"):
        raise ConfigError(f"hydra/launcher={name} runs the jobs of `frm-mlflow bench -m`; it supports no other command")
    setup_globals()
    search_path = search_path_of(config)
    compose = composer(search_path)
    jobs = [
        job_of(words, load=lambda overrides: loader.load_sweep_config(config, overrides), compose=compose)
        for words in job_overrides
    ]
    answers = [_returned(words, first + place) for place, words in enumerate(job_overrides)]
    launcher = _launcher(name, settings)
    if sweep is None:
        _show(jobs, _past(config), config, launcher)
    else:
        past = read_past(sweep.run.client, sweep.run.experiment, parent_run_id=sweep.run.run_id)
        _show(jobs, past, config, launcher)
        left = [job for job in in_order(jobs) if not job.is_done(past)]
        fleet = FleetSweep(sweep, SweepProgress(total=len(left), out=console()), search_path, launcher.grace_s)
        with fleet.progress.running():
            launcher.launch(left, fleet)
    return answers


def _launcher(name: str, settings: Mapping[str, Any]) -> FleetSettings:
    from frm_mlflow.launcher.ray_fleet import RaySettings
    from frm_mlflow.launcher.slurm_fleet import SlurmSettings

    kinds: dict[str, type[FleetSettings]] = {"frm_ray": RaySettings, "frm_slurm": SlurmSettings}
    return checked(kinds[name], dict(settings), where="hydra.launcher")


def _past(config: DictConfig) -> Past:
    """Return the past results that a dry run uses, including those of the sweep that it would resume."""
    tracking = checked(TrackingConfig, config.tracking, where="tracking")
    client = server.connect(tracking.uri)
    experiment = server.experiment_name(client, tracking.experiment)
    parent = tracking.parent_run_id
    if config.resume and parent is None:
        parent = unfinished_sweep(client, experiment, config_hash=multirun_hash(config))
    return read_past(client, experiment, parent_run_id=parent)


def _show(jobs: Sequence[Job], past: Past, config: DictConfig, launcher: FleetSettings) -> None:
    pairs = [(job.device, plan) for job in in_order(jobs) for plan in job.plans]
    ahead = schedule(pairs, past, units=launcher.units(), side_by_side=True)
    show(ahead, out=console(), as_json=bool(config.json), in_full=bool(config.dry_run))


def search_path_of(config: DictConfig) -> list[str]:
    """Return the override that finds the user's own groups (`--config-dir`, `hydra.searchpath`) from anywhere."""
    sources = config.hydra.runtime.config_sources
    paths = [f"{s.schema}://{s.path}" for s in sources if s.provider not in ("hydra", "main", "schema") and s.path]
    return [f"hydra.searchpath=[{','.join(quoted(path) for path in paths)}]"] if paths else []


def _returned(overrides: Sequence[str], place: int) -> JobReturn:
    """Return the result that Hydra's sweeper expects of a job; the job's real outcome is in the sweep."""
    answer = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    answer.return_value = None
    answer.task_name = f"bench {place}"
    return answer
