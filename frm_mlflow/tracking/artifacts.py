"""Tables, texts, folders and metrics logged to a run that is given by its id."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_RUN_NOTE

from frm_mlflow import escape, redact
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking.entry import note
from frm_mlflow.tracking.send import log_values
from frm_mlflow.tracking.spool import SERVER_ERRORS


def log_table(client: MlflowClient, run_id: str, frame: pd.DataFrame, path: str) -> None:
    """Log `frame` as `path.json` (which the UI shows as a table) and as `path.csv`.

    A table that the run already has under this path is replaced. MLflow's own `log_table` would
    append to it.
    """
    name = f"{path}.json"
    with _refusals(client, name):
        logged = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        if any(artifact["path"] == name for artifact in logged):
            client.log_text(run_id, frame.to_json(orient="split", index=False), name)
        else:
            client.log_table(run_id, frame, name)
        client.log_text(run_id, escape.csv_text(frame), f"{path}.csv")


def log_text(client: MlflowClient, run_id: str, text: str, path: str) -> None:
    """Log `text` as the artifact `path`."""
    with _refusals(client, path):
        client.log_text(run_id, redact.file(path, text), path)


def log_metrics(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
    """Log the finite values of `metrics` in one call."""
    finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
    with _refusals(client, "the metrics"):
        log_values(client, run_id, metrics=finite, time_ms=time.time_ns() // 1_000_000)


def log_folder(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Log every file in `folder` and its subfolders as artifacts."""
    with _refusals(client, folder.name):
        client.log_artifacts(run_id, str(folder))


def describe(client: MlflowClient, run_id: str, markdown: str) -> None:
    """Set the run's description, which the UI shows as Markdown."""
    with _refusals(client, "the description"):
        client.set_tag(run_id, MLFLOW_RUN_NOTE, note(markdown))


@contextmanager
def _refusals(client: MlflowClient, what: str) -> Iterator[None]:
    try:
        yield
    except SERVER_ERRORS as error:
        raise TrackingError(f"{what} cannot be logged to {client.tracking_uri}: {error}") from error
