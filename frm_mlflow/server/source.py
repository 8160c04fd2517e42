"""Source of the page's benchmarks: the server's own store, through `tracking`'s cache of runs.

The cache is updated instead of being read again, and all workers of a server share it. The
first read of a database takes three statements instead of a search page by page (docs/adr/0014).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.folders import cache_folder
from frm_mlflow.records import content_hash
from frm_mlflow.server.store import Experiments
from frm_mlflow.tracking.cache import refreshed
from frm_mlflow.tracking.database import ended_benchmarks, is_database
from frm_mlflow.tracking.entry import FINISHED
from frm_mlflow.tracking.pages import Selection
from frm_mlflow.tracking.query import IS_BENCHMARK, digest


def read_benchmarks(experiments: Experiments, *, on_progress: Callable[[int], None]) -> tuple[pd.DataFrame, str]:
    """Return the benchmarks of the experiments with these ids as a tidy frame, and the digest of its content.

    The store is read without the user's credentials: whether the user may read an experiment is decided
    beforehand, for each request (`frm_mlflow.server.permission`).
    """
    uri = os.environ["_MLFLOW_SERVER_FILE_STORE"]
    selection = Selection(_client(uri), experiments).where(IS_BENCHMARK)
    direct = partial(ended_benchmarks, uri, experiments) if is_database(uri) else None
    runs = refreshed(selection, folder=_folder(uri), on_progress=on_progress, direct=direct).frame
    frame = runs.loc[runs["status"] == FINISHED, list(schema.FRAME_COLUMNS)].reset_index(drop=True)
    return frame, digest(frame)


@cache
def _client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


def _folder(uri: str) -> Path:
    """Return a folder for this server only: a relative `sqlite:///` URI names another database elsewhere."""
    return cache_folder() / "server" / content_hash([uri, str(Path.cwd())])
