"""Results of a sweep: a leaderboard of all FINISHED runs below the parent run, and the drift of its baseline."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

import pandas as pd
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from frm_mlflow import frame, schema
from frm_mlflow.analysis.drift import sentinel_drift
from frm_mlflow.errors import DataError, FrmError
from frm_mlflow.progress import console
from frm_mlflow.report import leaderboard
from frm_mlflow.sweep.run import OpenSweep
from frm_mlflow.tracking import server
from frm_mlflow.tracking.pages import tag_is
from frm_mlflow.tracking.query import benchmarks
from frm_mlflow.tracking.summary import Summary


def publish(sweep: OpenSweep, *, as_json: bool, max_drift: float) -> None:
    """Print the leaderboard of all FINISHED benchmarks; add it, a figure and a summary to the parent run at its end."""
    finished = finished_benchmarks(sweep)
    board = leaderboard.leaderboard(finished)
    failures = {outcome.name: outcome.reason for outcome in sweep.run.failures}
    if as_json:
        rows = json.loads(board.to_json(orient="records"))
        answer = {"run_id": sweep.run.run_id, "failed": failures, "benchmarks": rows}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    elif not finished.empty:
        console().print(leaderboard.terminal_table(board))
    drift = sentinel_drift(finished)
    moved = _moved(drift, max_drift)
    for words in moved:
        console().print(f"The device drifted: {words}", markup=False, highlight=False, soft_wrap=True)
    sweep.run.summary = _summary(board, failures, drift, moved)


def finished_benchmarks(sweep: OpenSweep) -> pd.DataFrame:
    """Return the sweep's finished benchmarks as a tidy frame: those on the server, from any process, and ours.

    Measurements from an earlier part of a resumed sweep or a job on another host are only on the server. Those
    spooled to disk because the server does not respond are only here.
    """
    here = frame.from_records(sweep.records, run_ids=sweep.run_ids)
    below = tag_is(MLFLOW_PARENT_RUN_ID, sweep.run.run_id)
    try:
        server.check_answer(sweep.run.client)
        there = benchmarks(sweep.run.client, [sweep.run.experiment], where=below, cached=False).frame
    except FrmError as error:
        if sweep.records and not isinstance(error, DataError):
            console().print(f"The leaderboard shows this process's benchmarks only: {error}", markup=False)
        return here
    waiting = here[~here["run_id"].isin(there["run_id"])]
    return pd.concat([there, waiting], ignore_index=True) if len(waiting) else there


def _summary(board: pd.DataFrame, failures: Mapping[str, str], drift: pd.DataFrame, moved: Sequence[str]) -> Summary:
    """Return the parent run's summary: leaderboard and figure, the baseline's drift, whether it is too large."""
    tables = {"leaderboard": board, "drift": drift}
    return Summary(
        leaderboard.markdown(board, failures),
        tables={path: table for path, table in tables.items() if not table.empty},
        figures={} if board.empty else {"accuracy_frm": leaderboard.accuracy_frm_figure(board)},
        metrics={} if drift.empty else {schema.DRIFT.key: float(drift["drift"].iloc[0])},
        words={schema.DRIFTED.key: "; ".join(moved)} if moved else {},
    )


def _moved(drift: pd.DataFrame, max_drift: float) -> list[str]:
    """Return a sentence for each configuration whose baseline drifted by more than `max_drift`."""
    return [
        f"{row.baseline} on {row.device} · {row.runtime} · {row.precision} moved by {row.drift:+.0%} from the first of "
        f"{row.benchmarks} benchmarks to the last ({row.first_ms:.4g} ms, {row.last_ms:.4g} ms)"
        for row in drift[drift["drift"].abs() > max_drift].itertuples()
    ]
