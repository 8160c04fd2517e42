"""`hydra/launcher=frm_slurm`: the jobs of each device as one array of a Slurm cluster, through submitit.

A job is over when the scheduler reports it, whatever the job itself might still send, so a dead job cannot hang the
sweep. Nothing is requeued: a lost job counts as failed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frm_mlflow.errors import ConfigError, FleetError, MissingExtraError
from frm_mlflow.launcher import slurm_queue
from frm_mlflow.launcher.fleet_sweep import FleetSweep
from frm_mlflow.launcher.jobs import Job
from frm_mlflow.launcher.request import reply_of
from frm_mlflow.launcher.slurm_queue import JobState
from frm_mlflow.launcher.slurm_task import answer

_OPTIONS = ("constraint", "gres", "partition", "nodelist", "account", "qos")
_REPLY_S = 10.0
"""How long a reply may take to appear in a shared folder after the scheduler reports that the job has ended."""


@dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """The settings of `conf/hydra/launcher/frm_slurm.yaml`."""

    devices: dict[str, Any] = field(default_factory=dict)
    """By device name: constraint, gres, partition, nodelist, account, qos."""
    folder: str = "./frm-slurm"
    time_min: int = 60
    exclusive: bool = True
    look_every_s: float = 10.0
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        for device, options in self.devices.items():
            unknown = sorted(set(options) - set(_OPTIONS))
            if unknown:
                raise ConfigError(
                    f"hydra.launcher.devices.{device}: {', '.join(unknown)} is not one of {', '.join(_OPTIONS)}"
                )

    def units(self) -> dict[str, float]:
        """Return nothing: Slurm decides how many jobs of an array run at once; one is assumed."""
        return {}

    def options(self, device: str) -> dict[str, str]:
        """Return the Slurm options that request `device`."""
        named = self.devices.get(device)
        return {"constraint": device} if named is None else {key: str(value) for key, value in named.items()}

    def launch(self, jobs: Sequence[Job], fleet: FleetSweep) -> None:
        """Run the jobs and return when all have ended; `fleet` then has the outcome of each.

        Raises
        ------
        FleetError
            If Slurm is not installed here, or its scheduler does not respond.
        """
        if not jobs:
            return
        if shutil.which("sbatch") is None:
            raise FleetError("hydra/launcher=frm_slurm needs Slurm's commands, and `sbatch` is not on the PATH")
        _Arrays(self, fleet).until_done(jobs)


@dataclass(frozen=True)
class _Element:
    job: Job
    reply: Path


class _Arrays:
    """The arrays submitted to Slurm, one per device."""

    def __init__(self, settings: SlurmSettings, fleet: FleetSweep) -> None:
        self._settings, self._fleet = settings, fleet
        self._folder = Path(settings.folder).resolve() / fleet.sweep.run.run_id
        self._pending: dict[str, _Element] = {}

    def until_done(self, jobs: Sequence[Job]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            for device in dict.fromkeys(job.device for job in jobs):
                self._submit(device, [job for job in jobs if job.device == device])
            while self._pending:
                time.sleep(self._settings.look_every_s)
                self._look()
        except BaseException:
            if self._pending:
                slurm_queue.cancel(self._pending)
            raise
        shutil.rmtree(self._folder)

    def _submit(self, device: str, jobs: Sequence[Job]) -> None:
        """Submit one array; if Slurm cannot place its device, its jobs fail immediately."""
        try:
            import submitit
        except ImportError as error:
            raise MissingExtraError("submitit", "fleet", "hydra/launcher=frm_slurm") from error
        executor = submitit.SlurmExecutor(folder=self._folder / "scripts", max_num_timeout=0)
        more: dict[str, Any] = {"no_requeue": True} | ({"exclusive": True} if self._settings.exclusive else {})
        options = self._settings.options(device)
        parameters = {key: options.pop(key) for key in _OPTIONS if key in options and key != "nodelist"}
        executor.update_parameters(
            job_name=f"frm-{device}",
            time=self._settings.time_min,
            array_parallelism=1,
            use_srun=False,
            additional_parameters=options | more,
            **parameters,
        )
        elements = [_Element(job, self._folder / f"{job.job_id}.json") for job in jobs]
        for element in elements:
            element.reply.unlink(missing_ok=True)
        requests = [asdict(self._fleet.request(job)) for job in jobs]
        try:
            handles = executor.map_array(answer, requests, [str(element.reply) for element in elements])
        except submitit.core.utils.FailedJobError as error:
            for job in jobs:
                self._fleet.lost(job, f"Slurm refuses to place device {device}: {_last_line(error)}")
            return
        self._pending |= {str(handle.job_id): element for handle, element in zip(handles, elements, strict=True)}

    def _look(self) -> None:
        for job_id, state in slurm_queue.states(self._pending).items():
            element = self._pending[job_id]
            if element.reply.exists():
                self._ended(job_id, element, state)
            elif state.cannot_start:
                slurm_queue.cancel([job_id])
                self._ended(job_id, element, state)
            elif state.is_over:
                _wait_for(element.reply, seconds=_REPLY_S)
                self._ended(job_id, element, state)

    def _ended(self, job_id: str, element: _Element, state: JobState) -> None:
        del self._pending[job_id]
        if element.reply.exists():
            text = element.reply.read_text(encoding="utf-8", errors="replace")
            self._fleet.finished(element.job, reply_of(text, sender="the job"))
        else:
            self._fleet.lost(element.job, f"the job ended without a reply: {state.words()}")


def _wait_for(file: Path, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.2)


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
