"""Where the page's benchmarks come from: the server's own store, through `tracking.query` and its cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import pandas as pd
from mlflow import MlflowClient

from frm_mlflow.server.store import Experiments


def read_benchmarks(experiments: Experiments, *, on_progress: Callable[[int, int], None]) -> tuple[pd.DataFrame, str]:
    """Return the benchmarks of `experiments` as a tidy frame, and the digest of its content.

    The store is read without the user's credentials: who may read an experiment is decided
    before, for each request (`frm_mlflow.server.permission`).
    """
    from frm_mlflow.tracking.query import benchmarks

    found = benchmarks(_client(), experiments, cache="default", on_progress=on_progress)
    return found.frame, found.digest


@cache
def _client() -> MlflowClient:
    return MlflowClient(os.environ["_MLFLOW_SERVER_FILE_STORE"])
