"""`hydra/launcher=frm_ray`: one Ray task per job, on a node that has the job's device, with exclusive use of it.

A task is only a supervisor: the job runs in a process below it. Ray starts tasks that wait for the same device
in any order, and the plan's order matters (baselines fresh, the sentinel first and last), so Ray gets a
device's next job only when one has ended. Nothing is retried without the sweep's knowledge: if a node dies, its job
fails, and the job's run records that.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from frm_mlflow.errors import ConfigError
from frm_mlflow.launcher import ray_cluster
from frm_mlflow.launcher.fleet_sweep import FleetSweep
from frm_mlflow.launcher.jobs import Job
from frm_mlflow.launcher.ray_cluster import PREFIX, QUEUED, Board, Line
from frm_mlflow.launcher.ray_task import supervise
from frm_mlflow.launcher.request import Reply

_ABSENT_LOOKS = 2


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """The settings of `conf/hydra/launcher/frm_ray.yaml`."""

    address: str = "auto"
    auth: str = "token"
    look_every_s: float = 5.0
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        if self.look_every_s <= 0 or self.grace_s < 0:
            raise ConfigError("hydra.launcher.look_every_s must be positive and hydra.launcher.grace_s not negative")

    def units(self) -> dict[str, float]:
        """Return how many of each device the living nodes have."""
        with ray_cluster.connected(address=self.address, auth=self.auth) as ray:
            return ray_cluster.units(ray_cluster.nodes(ray))

    def launch(self, jobs: Sequence[Job], fleet: FleetSweep) -> None:
        """Run the jobs on the fleet and return when all have ended; `fleet` then has the outcome of each.

        Raises
        ------
        FleetError
            If no cluster responds.
        ConfigError
            If no living node has any of the devices; if some are present, only the jobs of the others fail.
        """
        if not jobs:
            return
        with ray_cluster.connected(address=self.address, auth=self.auth) as ray:
            nodes = ray_cluster.nodes(ray)
            offered = ray_cluster.units(nodes)
            absent = [job for job in jobs if job.device not in offered]
            if len(absent) == len(jobs):
                raise ConfigError(_absence(sorted({job.device for job in absent}), nodes))
            for job in absent:
                fleet.lost(job, _absence([job.device], nodes))
            _Run(ray, fleet, self).until_done([job for job in jobs if job.device in offered])


def _absence(devices: Sequence[str], nodes: Sequence[ray_cluster.Node]) -> str:
    resources = ", ".join(PREFIX + device for device in devices)
    return f"no living node of the fleet has the resource {resources}: {ray_cluster.devices_by_node(nodes)}"


class _Run:
    """The jobs that have not ended: those submitted to Ray, and those that wait for one of them."""

    def __init__(self, ray: Any, fleet: FleetSweep, settings: RaySettings) -> None:
        self._ray, self._fleet, self._settings = ray, fleet, settings
        self._board = Board()
        self._launcher = f"{platform.node()}:{os.getpid()}"
        self._waiting: dict[str, deque[Job]] = {}
        self._pending: dict[Any, Job] = {}
        self._absent: dict[str, int] = {}

    def until_done(self, jobs: Sequence[Job]) -> None:
        self._board.beat(self._launcher)
        for job in jobs:
            self._board.put(self._line(job))
            self._waiting.setdefault(job.device, deque()).append(job)
        try:
            self._submit(ray_cluster.units(ray_cluster.nodes(self._ray)))
            while self._pending:
                done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=self._settings.look_every_s)
                for reference in done:
                    self._take(reference)
                self._board.beat(self._launcher)
                nodes = ray_cluster.nodes(self._ray)
                if not done:
                    self._give_up_the_unplaceable(nodes)
                self._submit(ray_cluster.units(nodes))
        except BaseException:
            self._cancel_all()
            raise
        finally:
            for job in self._left():
                self._board.drop(self._key(job))
            self._board.leave(self._launcher)

    def _left(self) -> list[Job]:
        return [*self._pending.values(), *(job for waiting in self._waiting.values() for job in waiting)]

    def _submit(self, offered: Mapping[str, float]) -> None:
        """Give Ray the next jobs of every device with free units; one job if the device is temporarily absent."""
        with_ray = Counter(job.device for job in self._pending.values())
        for device, waiting in self._waiting.items():
            for _ in range(max(1, int(offered.get(device, 0))) - with_ray[device]):
                if waiting:
                    job = waiting.popleft()
                    self._pending[self._remote(job)] = job

    def _remote(self, job: Job) -> Any:
        options = {
            "num_cpus": 0,
            "resources": {PREFIX + job.device: 1},
            "max_retries": 0,
            "name": job.label,
        }
        task = self._ray.remote(supervise).options(**options)
        return task.remote(asdict(self._fleet.request(job)), asdict(self._line(job)))

    def _line(self, job: Job) -> Line:
        return Line(self._key(job), job.label, job.device, QUEUED, time.time(), self._launcher)

    def _key(self, job: Job) -> str:
        return f"{self._fleet.sweep.run.run_id}/{job.job_id}"

    def _take(self, reference: Any) -> None:
        job = self._pending.pop(reference)
        self._board.drop(self._key(job))
        try:
            reply = Reply(**self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            self._fleet.lost(job, _why(self._ray, error))
        else:
            self._fleet.finished(job, reply)

    def _give_up_the_unplaceable(self, nodes: Sequence[ray_cluster.Node]) -> None:
        """End the jobs whose device is no longer in any living node: Ray would wait for it forever."""
        offered = ray_cluster.units(nodes)
        for device in {job.device for job in self._left()}:
            self._absent[device] = 0 if device in offered else self._absent.get(device, 0) + 1
            if self._absent[device] >= _ABSENT_LOOKS:
                self._give_up(device, f"its device left the fleet: {_absence([device], nodes)}")

    def _give_up(self, device: str, reason: str) -> None:
        with_ray = [reference for reference, job in self._pending.items() if job.device == device]
        for reference in with_ray:
            self._ray.cancel(reference, force=True)
        for job in [*(self._pending.pop(reference) for reference in with_ray), *self._waiting.pop(device, ())]:
            self._board.drop(self._key(job))
            self._fleet.lost(job, reason)

    def _cancel_all(self) -> None:
        """Interrupt every job so that it closes its runs, and wait for that until the promised grace period is over."""
        for reference in self._pending:
            self._ray.cancel(reference)
        if self._pending:
            waiting = list(self._pending)
            self._ray.wait(waiting, num_returns=len(waiting), timeout=self._settings.grace_s)


def _why(ray: Any, error: Exception) -> str:
    """Return an explanation of how a task was lost."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    kinds = ray.exceptions
    if isinstance(error, kinds.OutOfMemoryError):
        return f"its node ran out of memory and Ray ended the job: {first}"
    if isinstance(error, (kinds.NodeDiedError, kinds.LocalRayletDiedError, kinds.ObjectLostError)):
        return f"its node died: {first}"
    if isinstance(error, kinds.WorkerCrashedError):
        return f"its node or its Ray worker died: {first}"
    return f"the job was lost: {first}"
