"""Reads the benchmarks on the tracking server, for all commands that need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient
from rich.console import Console

from frm_mlflow.config import TrackingConfig
from frm_mlflow.progress import counting
from frm_mlflow.tracking import server
from frm_mlflow.tracking.project_env import project_experiment
from frm_mlflow.tracking.query import BenchmarkFrame, benchmarks


def listed(value: Any) -> list[str]:
    """Return a setting (one name, a comma-separated string or a list) as a list; null gives an empty list."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return [str(name) for name in value or () if name is not None]


def experiments_of(client: MlflowClient, asked: Any, tracking: TrackingConfig) -> list[str]:
    """Return the experiments to read: the requested ones, else that of `mlflow run`, else the configured one."""
    return listed(asked) or [project_experiment(client) or server.experiment_name(client, tracking.experiment)]


def read_history(
    client: MlflowClient, experiments: Sequence[str], *, where: str, refresh: bool, out: Console
) -> BenchmarkFrame:
    """Return the benchmark runs of `experiments` as a tidy frame, using the local cache unless `refresh` is set.

    Raises
    ------
    DataError
        If there are none; the message lists how many each filter removed.
    """
    with counting("reading benchmarks", out=out) as progress:
        return benchmarks(
            client,
            experiments,
            where=where,
            cached=not refresh,
            on_progress=lambda done: progress(done, None),
        )
