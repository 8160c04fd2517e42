"""The jobs of a multirun, determined before the first one runs: what each measures, on which device, in what order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, open_dict

from frm_mlflow.devices.resolve import AUTO
from frm_mlflow.errors import ConfigError
from frm_mlflow.records import content_hash
from frm_mlflow.sweep.plan import BenchmarkPlan, Compose, is_of_the_sweep, plan_benchmarks
from frm_mlflow.sweep.schedule import Past

LoadJob = Callable[[list[str]], DictConfig]
"""Composes the configuration of a job from its overrides."""


@dataclass(frozen=True)
class Job:
    """One job: the overrides that its process gets unchanged, and the benchmarks that they describe."""

    overrides: tuple[str, ...]
    device: str
    plans: tuple[BenchmarkPlan, ...]

    @property
    def job_id(self) -> str:
        """An id that stays the same when the sweep is resumed."""
        return content_hash(list(self.overrides))

    @property
    def label(self) -> str:
        """`model · runtime · precision on device`, with the number of further models."""
        plans = [plan for plan in self.plans if not plan.is_baseline] or list(self.plans)
        more = f" and {len(plans) - 1} more" if len(plans) > 1 else ""
        return f"{plans[0].label}{more} on {self.device}"

    def is_done(self, past: Past) -> bool:
        """Whether every benchmark of the job has been measured below the sweep's parent."""
        return all(past.step(plan, self.device).done for plan in self.plans)

    @property
    def group(self) -> tuple[str, ...]:
        """The key that jobs with the same baseline benchmark have in common."""
        settings = self.plans[0].settings
        batch_size = f"{settings.batch_size:05d}"
        return (self.device, settings.runtime.name, settings.precision.name, batch_size, self.plans[0].baseline.name)


def job_of(overrides: Sequence[str], *, load: LoadJob, compose: Compose) -> Job:
    """Return the job that Hydra's sweeper requests with these overrides.

    Raises
    ------
    ConfigError
        If it names no device: a launcher chooses the host by the device's name.
    """
    kept = tuple(word for word in overrides if not is_of_the_sweep(word))
    config = load(list(kept))
    with open_dict(config):
        config.pop("hydra", None)
    plans = plan_benchmarks(config, kept, compose)
    device = plans[0].settings.device.name
    if device == AUTO:
        raise ConfigError(
            "a fleet's launcher chooses the host by the device's name, which device=auto does not give: "
            "name it, for example device=jetson_orin_nano or device=cpu_a,cpu_b"
        )
    return Job(kept, device, plans)


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs with those that share a baseline next to each other: it is measured just before them."""
    places: dict[tuple[str, ...], int] = {}
    for job in jobs:
        places.setdefault(job.group, len(places))
    return sorted(jobs, key=lambda job: places[job.group])
