"""Runs of a sweep that another process has opened: a fleet's job joins it, its launcher ends what a dead job left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.tracking.context.registry import resolve_tags

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking.context import DeviceContext
from frm_mlflow.tracking.entry import FAILED, RunEntry
from frm_mlflow.tracking.resume import RUNNING, runs_below
from frm_mlflow.tracking.runs import Outcome, Sweep, now_ms
from frm_mlflow.tracking.signals import signals_as_interrupt
from frm_mlflow.tracking.spool import SERVER_ERRORS, keep_or_send, resend, spool_directory, try_deliver


@contextmanager
def join_sweep(
    client: MlflowClient, parent_run_id: str, *, tags: Mapping[str, str], spool: Path | None = None
) -> Iterator[Sweep]:
    """Yield the open sweep whose parent run is `parent_run_id`; leaving the block does not end it.

    Results that an earlier, killed job left on this host's disk are sent first: they are already measured and are
    not measured again.

    Parameters
    ----------
    tags
        Additional tags of every run that is opened below it here.

    Raises
    ------
    TrackingError
        If that run is not on the server.
    """
    try:
        experiment_id = client.get_run(parent_run_id).info.experiment_id
        experiment = client.get_experiment(experiment_id).name
    except SERVER_ERRORS as error:
        raise TrackingError(f"the sweep {parent_run_id} cannot be joined at {client.tracking_uri}: {error}") from error
    context = resolve_tags(ignore=[DeviceContext])  # type: ignore[list-item] # MLflow annotates instances, takes classes
    with signals_as_interrupt():
        resend(spool, only=client.tracking_uri)
        yield Sweep(client, experiment, experiment_id, parent_run_id, spool or spool_directory(), {**context, **tags})


def close_lost_job(sweep: Sweep, job_id: str, *, name: str, tags: Mapping[str, str], reason: str) -> list[Outcome]:
    """End as FAILED the runs that a dead job left RUNNING, and return how all of its benchmarks ended.

    A job that died before it had opened a run gets one that records this, so every job leaves a trace. If the
    server does not respond, they are saved on disk and `frm-mlflow resend` logs them.
    """
    try:
        before = [_outcome(run) for run in runs_below(sweep.client, sweep.run_id, tags={schema.FLEET_JOB.key: job_id})]
    except SERVER_ERRORS as error:
        before = []
        reason = f"{reason} (what the job has logged could not be read: {error})"
    outcomes = [_ended(sweep, run, reason) if run.status == RUNNING else run for run in before]
    sweep.outcomes += outcomes
    if all(run.status != RUNNING for run in before):
        outcomes.append(_without_a_run(sweep, job_id, name, tags, reason))
    return outcomes


def _outcome(run: Run) -> Outcome:
    tags = run.data.tags
    record_id, reason = tags.get(schema.RECORD_ID.key, ""), tags.get(schema.REASON.key, "")
    return Outcome(run.info.run_name, run.info.status, run.info.run_id, record_id, reason)


def _ended(sweep: Sweep, run: Outcome, reason: str) -> Outcome:
    entry = RunEntry(
        tracking_uri=sweep.client.tracking_uri,
        experiment=sweep.experiment,
        record_id="",
        name="",
        status=FAILED,
        start_ms=now_ms(),
        end_ms=now_ms(),
        run_id=run.run_id,
        tags={schema.REASON.key: reason},
    )
    saved = keep_or_send(sweep.client, entry, directory=sweep.spool)
    pending = saved if isinstance(saved, Path) and not try_deliver(sweep.client, saved) else None
    return Outcome(run.name, FAILED, run.run_id, "", reason, kept=pending)


def _without_a_run(sweep: Sweep, job_id: str, name: str, tags: Mapping[str, str], reason: str) -> Outcome:
    with sweep.benchmark(name=name, tags={**tags, schema.FLEET_JOB.key: job_id}) as run:
        return run.end(FAILED, reason)
