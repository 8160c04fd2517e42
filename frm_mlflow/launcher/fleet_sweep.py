"""Steps shared by all launchers: skip finished jobs, run the rest on a host, record how each ended."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from frm_mlflow import __version__, schema
from frm_mlflow.launcher.jobs import Job
from frm_mlflow.launcher.request import Reply, Request
from frm_mlflow.progress import SweepProgress
from frm_mlflow.sweep.run import OpenSweep
from frm_mlflow.tracking.fleet_job import close_lost_job
from frm_mlflow.tracking.runs import Outcome


class FleetSettings(Protocol):
    """Interface of a launcher: its validated settings, and how it runs jobs."""

    @property
    def grace_s(self) -> float:
        """How many seconds a job has to close its runs when it is interrupted."""

    def units(self) -> dict[str, float]:
        """Return how many of each device the fleet has, as far as that is known."""

    def launch(self, jobs: Sequence[Job], fleet: FleetSweep) -> None:
        """Run the jobs and return when all have ended."""


@dataclass
class FleetSweep:
    """An open sweep whose jobs run elsewhere."""

    sweep: OpenSweep
    progress: SweepProgress
    search_path: Sequence[str] = ()
    grace_s: float = 30.0

    def request(self, job: Job, *, node: str = "") -> Request:
        """Return the input of the job's process."""
        return Request(
            version=__version__,
            label=job.label,
            overrides=list(job.overrides),
            search_path=list(self.search_path),
            tracking_uri=self.sweep.run.client.tracking_uri,
            parent_run_id=self.sweep.run.run_id,
            tags=self._tags(job, node),
            grace_s=self.grace_s,
        )

    def finished(self, job: Job, reply: Reply) -> None:
        """Record a job whose process has replied."""
        outcomes = [Outcome(**{**item, "kept": _path(item["kept"])}) for item in reply.outcomes]
        if reply.error:
            self.sweep.run.outcomes += [outcome for outcome in outcomes if outcome.kept]
            self.lost(job, reply.error, seconds=reply.seconds)
            return
        self.sweep.run.outcomes += outcomes
        self._report(job, _summary(outcomes, reply.host), reply.seconds)

    def lost(self, job: Job, reason: str, *, seconds: float = 0.0) -> None:
        """Record a job that ended without a reply, or never started: its runs end as FAILED with the reason."""
        close_lost_job(self.sweep.run, job.job_id, name=job.label, tags=_requested_tags(job), reason=reason)
        self._report(job, f"FAILED: {reason.splitlines()[0]}", seconds)

    def _report(self, job: Job, line: str, seconds: float) -> None:
        self.progress.finish(f"{job.label}: {line}", seconds=seconds)

    def _tags(self, job: Job, node: str) -> dict[str, str]:
        return {schema.FLEET_JOB.key: job.job_id} | ({schema.FLEET_NODE.key: node} if node else {})


def _requested_tags(job: Job) -> Mapping[str, str]:
    """Return the tags of a run for a job that never measured: what was requested, and no host."""
    settings = job.plans[0].settings
    tags = {
        schema.DEVICE.key: job.device,
        schema.RUNTIME.key: settings.runtime.name,
        schema.PRECISION.key: settings.precision.name,
        schema.BASELINE.key: job.plans[0].baseline.name,
        schema.HOST.key: "",
    }
    models = {plan.settings.model.name for plan in job.plans if not plan.is_baseline}
    return tags | ({schema.MODEL.key: models.pop()} if len(models) == 1 else {})


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _summary(outcomes: Sequence[Outcome], host: str) -> str:
    failed = [outcome for outcome in outcomes if outcome.status != "FINISHED"]
    where = "" if host == platform.node() else f" on {host}"
    if failed:
        return f"{len(failed)} of {len(outcomes)} benchmarks FAILED{where}: {failed[0].reason.splitlines()[0]}"
    noun = "benchmark" if len(outcomes) == 1 else "benchmarks"
    return f"{len(outcomes)} {noun}{where}" if outcomes else f"already measured{where}"
