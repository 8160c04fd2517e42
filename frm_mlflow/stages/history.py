"""The benchmarks that the tracking server holds, read once for every command that needs them."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient
from rich.console import Console

from frm_mlflow.stages.progress import counting
from frm_mlflow.tracking.query import BenchmarkFrame, benchmarks


def read_history(
    client: MlflowClient, experiments: Sequence[str], *, where: str, refresh: bool, out: Console
) -> BenchmarkFrame:
    """Return the benchmark runs of `experiments` as a tidy frame, through the local cache unless `refresh`.

    Raises
    ------
    DataError
        Where there are none, with what each filter removed.
    """
    with counting("reading benchmarks", out=out) as progress:
        return benchmarks(client, experiments, where=where, cache=None if refresh else "default", on_progress=progress)
