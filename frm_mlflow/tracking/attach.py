"""Benchmarks that join what is on the server already: a user's run, a run below it, a LoggedModel.

A run that is attached to keeps its status and its times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, TrackingError
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.tracking.attachments import NO_ATTACHMENTS, Attachments
from frm_mlflow.tracking.entry import clean, record_entry, to_ms
from frm_mlflow.tracking.rest import refused
from frm_mlflow.tracking.spool import deliver_now, keep, spool_directory

WRITE = "EDIT permission on the experiment"
FOLDER = "frm"
"""Artifacts of attached benchmarks lie in a folder of their own below this one."""


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Return a run.

    Raises
    ------
    TrackingError
        Where the server does not know it or does not show it.
    """
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        said = refused(error, permission="READ permission on its experiment")
        raise TrackingError(f"run '{run_id}' at {client.tracking_uri}: {said}") from error


def attach(
    client: MlflowClient,
    run_id: str,
    record: BenchmarkRecord,
    *,
    prefix: str = "",
    step: int | None = None,
    model_id: str | None = None,
    attachments: Attachments = NO_ATTACHMENTS,
) -> None:
    """Log `record` to an existing run, ended or not.

    Parameters
    ----------
    prefix
        Put before every metric and tag key.
    step
        Step of the metrics, where the benchmark is one of a series (a model while it is pruned).
    model_id
        LoggedModel that the metrics belong to as well.

    Raises
    ------
    ConfigError
        Where the run carries a benchmark of another configuration under the same prefix.
    TrackingError
        Where the server refuses.
    """
    run = find_run(client, run_id)
    _refuse_overwriting(run, record, prefix)
    tags = {prefix + key: value for key, value in clean(_tags(record, model_id)).items()}
    metrics = {prefix + key: value for key, value in record.metrics.items()}
    try:
        if model_id is not None:
            _declare(client, run, model_id)
        client.log_batch(
            run_id,
            metrics=_metrics(run_id, metrics, time_ms=to_ms(record.end_time), step=step or 0, model_id=model_id),
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            attachments.write(Path(folder))
            if any(Path(folder).iterdir()):
                client.log_artifacts(run_id, folder, f"{FOLDER}/{record.record_id}")
    except MlflowException as error:
        raise TrackingError(
            f"the benchmark cannot be logged to run '{run_id}': {refused(error, permission=WRITE)}"
        ) from error


def log_below(
    client: MlflowClient,
    parent_run_id: str,
    record: BenchmarkRecord,
    *,
    model_id: str | None = None,
    attachments: Attachments = NO_ATTACHMENTS,
) -> str | None:
    """Log `record` as a finished run of its own below another and return its id; None where it waits on disk."""
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
    """Let the metrics that `run_id` has from `record` belong to a LoggedModel too.

    Raises
    ------
    TrackingError
        Where the server refuses.
    """
    try:
        _declare(client, client.get_run(run_id), model_id)
        metrics = _metrics(run_id, record.metrics, time_ms=to_ms(record.end_time), step=0, model_id=model_id)
        client.log_batch(run_id, metrics=metrics)
    except MlflowException as error:
        said = refused(error, permission=WRITE)
        raise TrackingError(f"run '{run_id}' cannot be linked to model '{model_id}': {said}") from error


def _metrics(
    run_id: str, values: Mapping[str, float], *, time_ms: int, step: int, model_id: str | None
) -> list[Metric]:
    return [Metric(key, value, time_ms, step, model_id=model_id, run_id=run_id) for key, value in values.items()]


def _declare(client: MlflowClient, run: Run, model_id: str) -> None:
    """Make the model an input of the run, unless the run made it or has it already."""
    inputs = run.inputs.model_inputs if run.inputs else []
    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in {model.model_id for model in (*(inputs or ()), *(outputs or ()))}:
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(model_id=model_id)])


def _tags(record: BenchmarkRecord, model_id: str | None) -> dict[str, str]:
    return record.all_tags() | ({schema.MODEL_ID.key: model_id} if model_id else {})


def _refuse_overwriting(run: Run, record: BenchmarkRecord, prefix: str) -> None:
    """Refuse where the run's metrics under this prefix come from another configuration."""
    tags = run.data.tags
    if prefix + schema.RECORD_ID.key not in tags:
        return
    ours = record.configuration.tags()
    keys = [tag.key for tag in schema.CONFIGURATION_TAGS]
    there, here = ([of.get(key, "") for key in keys] for of in (_without(prefix, tags), ours))
    if there != here:
        raise ConfigError(
            f"run '{run.info.run_id}' carries a benchmark of {' · '.join(filter(None, there))} already, "
            f"and this one is of {' · '.join(filter(None, here))}: give it a prefix of its own, "
            "or log it to a run below (into=child)"
        )


def _without(prefix: str, tags: Mapping[str, str]) -> dict[str, str]:
    return {key[len(prefix) :]: value for key, value in tags.items() if key.startswith(prefix)}
