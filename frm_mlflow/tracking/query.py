"""Finished benchmarks as one tidy frame, with what was left out and why."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.errors import DataError
from frm_mlflow.tracking import rest
from frm_mlflow.tracking.cache import OnProgress, Runs, frame_of, refresh, refreshed
from frm_mlflow.tracking.database import ended_benchmarks, is_database
from frm_mlflow.tracking.entry import FINISHED
from frm_mlflow.tracking.pages import NOT_FINITE, Selection, count, named_experiments, tag_is
from frm_mlflow.tracking.resume import RUNNING

IS_BENCHMARK = tag_is(schema.KIND.key, schema.KIND_BENCHMARK)


@dataclass(frozen=True)
class BenchmarkFrame:
    """Finished benchmarks, one row each.

    Attributes
    ----------
    frame
        Columns `schema.FRAME_COLUMNS`, ordered by run id.
    left_out
        Number of benchmark runs that are not in the frame, by reason (`status FAILED`, ...).
    not_finite
        Number of values that are missing in the frame because they were NaN or infinite, by metric key.
    digest
        SHA-256 of the rows: equal digests mean the same runs with the same values.
    """

    frame: pd.DataFrame
    left_out: Mapping[str, int]
    not_finite: Mapping[str, int]
    digest: str

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs in the frame."""
        return tuple(self.frame["run_id"])


def benchmarks(
    client: MlflowClient,
    experiments: Sequence[str] = ("frm",),
    *,
    where: str = "",
    cached: bool = True,
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
) -> BenchmarkFrame:
    """Return the finished benchmarks of some experiments.

    Parameters
    ----------
    client
        From `server.connect`; credentials come from MLflow's own environment variables.
    experiments
        Names of the experiments.
    where
        Additional conditions in MLflow's own filter syntax, evaluated by the server.
    cached
        Keep the runs on disk and ask the server only for what has changed (see `tracking.cache`).
        A database is always read as a whole.
    folder
        Folder for the cached runs; None uses the user's cache folder.
    on_progress
        Called with the number of runs read so far.

    Raises
    ------
    TrackingError
        If the server does not respond, or an experiment does not exist or may not be read.
    DataError
        If there is no finished benchmark; the message reports which filter removed how many runs.
    """
    everything = Selection(client, named_experiments(client, experiments))
    selection = everything.where(IS_BENCHMARK, where)
    if is_database(client.tracking_uri) and not where:
        runs = Runs(frame_of(ended_benchmarks(client.tracking_uri, everything.experiment_ids), now_s=0.0))
    elif cached and rest.is_http(client.tracking_uri):
        runs = refreshed(selection, folder=folder, on_progress=on_progress)
    else:
        runs = refresh(None, selection, now_s=0.0, on_progress=on_progress)
    finished = runs.frame[runs.frame["status"] == FINISHED]
    if finished.empty:
        raise DataError(_why_empty(everything, experiments, where))
    return _result(runs, finished, running=count(selection.where(f"attributes.status = '{RUNNING}'")))


def _result(runs: Runs, finished: pd.DataFrame, *, running: int) -> BenchmarkFrame:
    statuses = runs.frame["status"].value_counts()
    left_out = {f"status {status}": int(number) for status, number in statuses.items() if status != FINISHED}
    not_finite = finished[NOT_FINITE].str.split().explode().dropna().value_counts()
    frame = finished.sort_values("run_id")[list(schema.FRAME_COLUMNS)].reset_index(drop=True)
    return BenchmarkFrame(
        frame=frame,
        left_out=left_out | ({f"status {RUNNING}": running} if running else {}),
        not_finite={str(key): int(number) for key, number in not_finite.items()},
        digest=digest(frame),
    )


def digest(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of a tidy frame's runs, strings and numbers, independent of the order of its rows.

    The time at which a run was last written to is not part of it.
    """
    rows = frame.sort_values("run_id")
    total = hashlib.sha256()
    for column in schema.FRAME_COLUMNS:
        if column != schema.WRITTEN.column:
            total.update(_bytes(rows[column]))
    return total.hexdigest()


def _bytes(values: pd.Series) -> bytes:
    if values.dtype == "float64":
        numbers = values.to_numpy("<f8")
        return bytes(np.where(np.isnan(numbers), np.nan, numbers).tobytes())
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.as_unit("ms").astype("int64")
    return "\x1f".join(map(str, values.tolist())).encode()


def _why_empty(everything: Selection, experiments: Sequence[str], where: str) -> str:
    is_finished = f"attributes.status = '{FINISHED}'"
    steps = [
        ("runs", everything),
        (f"with {schema.KIND.key} = {schema.KIND_BENCHMARK}", everything.where(IS_BENCHMARK)),
    ]
    steps.append(("of these FINISHED", everything.where(IS_BENCHMARK, is_finished)))
    if where:
        steps.append((f"of these that meet the filter [{where}]", everything.where(IS_BENCHMARK, is_finished, where)))
    counts = "; ".join(f"{count(selection)} {what}" for what, selection in steps)
    remedy = "" if where else "; measure some with `frm-mlflow bench`, or import some with `frm-mlflow ingest`"
    return f"no finished benchmark in experiment {', '.join(experiments)}: {counts}{remedy}"
