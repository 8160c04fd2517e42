"""Benchmarks logged to what is already on the server: a user's run, a run below it, a LoggedModel.

A run that a benchmark is attached to keeps its status and its times.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, TrackingError
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.tracking.attachments import NO_ATTACHMENTS, Attachments
from frm_mlflow.tracking.entry import LEFT_OPEN, RunEntry, record_entry, to_ms
from frm_mlflow.tracking.join import declare, find_run, metrics
from frm_mlflow.tracking.rest import refused
from frm_mlflow.tracking.spool import SERVER_ERRORS, deliver_at_once, deliver_now, keep, send_unkept, spool_directory

WRITE = "EDIT permission on the experiment"


def attach(
    client: MlflowClient,
    run_id: str,
    record: BenchmarkRecord,
    *,
    prefix: str = "",
    step: int | None = None,
    model_id: str | None = None,
    attachments: Attachments = NO_ATTACHMENTS,
    metrics_follow: bool = False,
) -> None:
    """Log `record` to an existing run, ended or not; it stays on disk until the server has it.

    Parameters
    ----------
    prefix
        Prefix of every metric and tag key.
    step
        Step of the metrics if the benchmark is one of a series (a model while it is being pruned).
    model_id
        LoggedModel that the metrics also belong to.
    metrics_follow
        The caller logs the metrics itself. They are left out here, but kept on disk if the server refuses.

    Raises
    ------
    ConfigError
        If the run has a benchmark of another configuration under the same prefix.
    TrackingError
        If the server refuses or does not respond; the message names the folder that keeps the result.
    """
    entry = _joining(client, run_id, record, prefix=prefix, step=step or 0, model_id=model_id)
    try:
        folder = keep(entry, attachments, directory=spool_directory())
    except OSError:  # for example a full disk
        send_unkept(client, entry, attachments)
        return
    try:
        deliver_at_once(client, folder, metrics=not metrics_follow)
    except ConfigError:  # the run would also refuse it later
        shutil.rmtree(folder)
        raise
    except SERVER_ERRORS as error:
        said = refused(error, permission=WRITE) if isinstance(error, MlflowException) else str(error)
        raise TrackingError(
            f"the benchmark cannot be logged to run '{run_id}': {said}. "
            f"The result is kept in {folder}: `frm-mlflow resend` logs it there, once the server takes it"
        ) from error


def _joining(
    client: MlflowClient, run_id: str, record: BenchmarkRecord, *, prefix: str, step: int, model_id: str | None
) -> RunEntry:
    """Return the entry that logs `record` to a run that frm-mlflow did not create."""
    entry = record_entry(record, tracking_uri=client.tracking_uri, experiment="", run_id=run_id)
    return replace(
        entry,
        status=LEFT_OPEN,
        prefix=prefix,
        step=step,
        model_id=model_id or "",
        tags={prefix + key: value for key, value in _tags(record, model_id).items()},
        params={},
        metrics={prefix + key: value for key, value in entry.metrics.items()},
    )


def log_below(
    client: MlflowClient,
    parent_run_id: str,
    record: BenchmarkRecord,
    *,
    model_id: str | None = None,
    attachments: Attachments = NO_ATTACHMENTS,
) -> str | None:
    """Log `record` as a finished child run of another and return its id, or None if it is still on disk."""
    experiment = client.get_experiment(find_run(client, parent_run_id).info.experiment_id).name
    entry = record_entry(
        record,
        tracking_uri=client.tracking_uri,
        experiment=experiment,
        parent_run_id=parent_run_id,
        tags=_tags(record, model_id),
    )
    run_id = deliver_now(client, keep(entry, attachments, directory=spool_directory()))
    if run_id is not None and model_id is not None:
        link(client, run_id, model_id, record)
    return run_id


def link(client: MlflowClient, run_id: str, model_id: str, record: BenchmarkRecord) -> None:
    """Assign the metrics that `run_id` has from `record` to a LoggedModel as well.

    Raises
    ------
    TrackingError
        If the server refuses.
    """
    try:
        declare(client, client.get_run(run_id), model_id)
        points = metrics(run_id, record.metrics, time_ms=to_ms(record.end_time), step=0, model_id=model_id)
        client.log_batch(run_id, metrics=points)
    except MlflowException as error:
        said = refused(error, permission=WRITE)
        raise TrackingError(f"run '{run_id}' cannot be linked to model '{model_id}': {said}") from error


def _tags(record: BenchmarkRecord, model_id: str | None) -> dict[str, str]:
    return record.all_tags() | ({schema.MODEL_ID.key: model_id} if model_id else {})
