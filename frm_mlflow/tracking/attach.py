"""Benchmarks logged to what is already on the server: a user's run, a run below it, a LoggedModel.

A run that a benchmark is attached to keeps its status and its times.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, TrackingError
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.tracking.entry import LEFT_OPEN, RunEntry, record_entry, to_ms
from frm_mlflow.tracking.rest import refusal_named
from frm_mlflow.tracking.run_files import NO_FILES, RunFiles
from frm_mlflow.tracking.send import Sent, add_model_input, points
from frm_mlflow.tracking.server import find_run
from frm_mlflow.tracking.spool import SERVER_ERRORS, deliver, keep_or_send, spool_directory, try_deliver

WRITE = "EDIT permission on the experiment"


def attach(
    client: MlflowClient,
    run_id: str,
    record: BenchmarkRecord,
    *,
    prefix: str = "",
    step: int | None = None,
    model_id: str | None = None,
    files: RunFiles = NO_FILES,
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
    folder = keep_or_send(client, entry, files, directory=spool_directory())
    if isinstance(folder, Sent):
        return
    try:
        with refusal_named("the server refused it", permission=WRITE):
            deliver(client, folder, metrics=not metrics_follow)
    except ConfigError:  # the run would also refuse it later
        shutil.rmtree(folder)
        raise
    except SERVER_ERRORS as error:
        raise TrackingError(
            f"the benchmark cannot be logged to run '{run_id}': {str(error).rstrip('.')}. "
            f"The result is saved in {folder}: `frm-mlflow resend` logs it once the server accepts it"
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
    files: RunFiles = NO_FILES,
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
    saved = keep_or_send(client, entry, files, directory=spool_directory())
    run_id = saved.run_id if isinstance(saved, Sent) else try_deliver(client, saved)
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
    with refusal_named(f"run '{run_id}' cannot be linked to model '{model_id}'", permission=WRITE):
        add_model_input(client, client.get_run(run_id), model_id)
        client.log_batch(
            run_id, metrics=points(run_id, record.metrics, time_ms=to_ms(record.end_time), model_id=model_id)
        )


def _tags(record: BenchmarkRecord, model_id: str | None) -> dict[str, str]:
    return record.all_tags() | ({schema.MODEL_ID.key: model_id} if model_id else {})
