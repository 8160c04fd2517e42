"""Sending a finished run to a tracking server exactly once: to its own run, or to one that someone else created.

This is the only path for logging results. Sending the same entry again changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, TrackingError
from frm_mlflow.tracking.create import create_run, opened_by
from frm_mlflow.tracking.entry import FINISHED, KILLED, RunEntry, clean
from frm_mlflow.tracking.server import ensure_experiment, find_run

PER_BATCH = 100
"""Maximum number of params, and of tags, that a server accepts in one call."""
ATTACHED_FOLDER = "frm"
"""Each attached benchmark has a separate folder of artifacts below this one."""
LOST_RESPONSE = "opened twice: the server's response was lost"
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Sent:
    """The run that holds an entry, and whether this call logged it."""

    run_id: str
    logged: bool


def send(client: MlflowClient, entry: RunEntry, artifacts: Path | None = None) -> Sent:
    """Log `entry` with the files in `artifacts` to its run, which is created if it does not exist.

    A run is ended last, so a run that has ended is complete. One that has not ended was partly logged and
    is completed. If the run was closed as FAILED in the meantime, that reason is removed. A run never ends before it
    starts, even if the clock was set back in between.

    Raises
    ------
    ConfigError
        If the entry joins a run that has a benchmark of another configuration under the same prefix.
    TrackingError
        If the entry joins or only ends a run, and the server does not return that run.
    """
    if entry.joins:
        return _join(client, entry, artifacts)
    experiment_id = ensure_experiment(client, entry.experiment)
    if not entry.record_id:
        _close_lost(client, experiment_id, entry)
    run = _find(client, experiment_id, entry)
    if run is not None and _is_complete(run, entry):
        return Sent(str(run.info.run_id), logged=False)
    run_id = str(run.info.run_id) if run is not None else create(client, experiment_id, entry)
    tags = {} if run is None else {**entry.tags, **({MLFLOW_RUN_NAME: entry.name} if entry.name else {})}
    log_values(client, run_id, metrics=entry.metrics, params=entry.params, tags=tags, time_ms=entry.end_ms)
    if artifacts is not None and any(artifacts.iterdir()):
        client.log_artifacts(run_id, str(artifacts))
    if run is not None and entry.status == FINISHED and schema.REASON.key in run.data.tags:
        client.delete_tag(run_id, schema.REASON.key)
    started_ms = entry.start_ms if run is None else run.info.start_time
    client.set_terminated(run_id, status=entry.status, end_time=max(entry.end_ms, started_ms))
    return Sent(run_id, logged=True)


def create(client: MlflowClient, experiment_id: str, entry: RunEntry) -> str:
    """Create the entry's run with all its tags and return its id."""
    return create_run(client, experiment_id, name=entry.name, tags=clean(entry.tags), start_ms=entry.start_ms)


def log_values(
    client: MlflowClient,
    run_id: str,
    *,
    metrics: Mapping[str, float] = NOTHING,
    params: Mapping[str, str] = NOTHING,
    tags: Mapping[str, str] = NOTHING,
    time_ms: int = 0,
) -> None:
    """Log metrics (at `time_ms`), params and tags in one call, plus one for each further 100 params or tags."""
    metric_points = points(run_id, metrics, time_ms=time_ms)
    all_params = [Param(key, value) for key, value in clean(params).items()]
    all_tags = [RunTag(key, value) for key, value in clean(tags).items()]
    batches = math.ceil(max(len(all_params), len(all_tags), len(metric_points[:1])) / PER_BATCH)
    for batch in range(batches):
        part = slice(batch * PER_BATCH, (batch + 1) * PER_BATCH)
        client.log_batch(run_id, metrics=() if batch else metric_points, params=all_params[part], tags=all_tags[part])


def points(
    run_id: str, values: Mapping[str, float], *, time_ms: int, step: int = 0, model_id: str | None = None
) -> list[Metric]:
    """Return values as metrics of a run, and of a LoggedModel if one is given."""
    return [Metric(key, value, time_ms, step, model_id=model_id, run_id=run_id) for key, value in values.items()]


def add_model_input(client: MlflowClient, run: Run, model_id: str) -> None:
    """Make the model an input of the run, unless the run created it or already has it."""
    inputs = run.inputs.model_inputs if run.inputs else []
    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in {model.model_id for model in (*(inputs or ()), *(outputs or ()))}:
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(model_id=model_id)])


def _close_lost(client: MlflowClient, experiment_id: str, end: RunEntry) -> None:
    """End the benchmarks that a sweep opened without ever receiving their ids; `end` is the sweep's end."""
    opening = end.tags.get(schema.OPENING.key)
    for run_id in opened_by(client, experiment_id, f"{opening}-") if opening else ():
        client.set_tag(run_id, schema.REASON.key, LOST_RESPONSE)
        client.set_terminated(run_id, KILLED)


def _find(client: MlflowClient, experiment_id: str, entry: RunEntry) -> Run | None:
    """Return the run that was opened for `entry` or has its marks, or None if there is none."""
    if entry.run_id:
        try:
            return client.get_run(entry.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            if not entry.record_id:
                raise TrackingError(f"run {entry.run_id} does not exist at {client.tracking_uri}") from error
    for mark, value in ((schema.RECORD_ID, entry.record_id), (schema.OPENING, entry.tags.get(schema.OPENING.key, ""))):
        runs = client.search_runs([experiment_id], f"tags.`{mark.key}` = '{value}'") if value else []
        if runs:
            return min(runs, key=lambda run: run.info.status != FINISHED)
    return None


def _is_complete(run: Run, entry: RunEntry) -> bool:
    """Whether `run` has ended as the run that `entry` describes.

    A partly logged benchmark that another process ended (as KILLED, by a resumed sweep) is not complete.
    """
    if not entry.record_id:
        return _has_ended(run)
    return run.info.status == entry.status and run.data.tags.get(schema.RECORD_ID.key) == entry.record_id


def _has_ended(run: Run) -> bool:
    return RunStatus.is_terminated(RunStatus.from_string(run.info.status))


# --- runs created by someone else ---------------------------------------------------------------


def _join(client: MlflowClient, entry: RunEntry, artifacts: Path | None) -> Sent:
    """Log `entry` to the run that it joins, whose name, status and times do not change.

    Every metric has the entry's time and step, so MLflow stores it once.
    """
    run = find_run(client, str(entry.run_id))
    _refuse_overwriting(run, entry)
    run_id = str(run.info.run_id)
    if entry.model_id:
        add_model_input(client, run, entry.model_id)
    metrics = points(run_id, entry.metrics, time_ms=entry.end_ms, step=entry.step, model_id=entry.model_id or None)
    tags = clean(entry.tags)
    if not entry.prefix and _has_ended(run):  # caches detect by this tag that the run has changed after its end
        tags[schema.ATTACHED_ON.key] = datetime.now(timezone.utc).date().isoformat()
    client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])
    if artifacts is not None and any(artifacts.iterdir()):
        client.log_artifacts(run_id, str(artifacts), f"{ATTACHED_FOLDER}/{entry.record_id}")
    return Sent(run_id, logged=True)


def _refuse_overwriting(run: Run, entry: RunEntry) -> None:
    """Raise an error if the run's metrics under this prefix come from another configuration."""
    if entry.prefix + schema.RECORD_ID.key not in run.data.tags:
        return
    keys = [entry.prefix + tag.key for tag in schema.CONFIGURATION_TAGS]
    before, after = ([tags.get(key, "") for key in keys] for tags in (run.data.tags, clean(entry.tags)))
    if before != after:
        raise ConfigError(
            f"run '{run.info.run_id}' already has a benchmark of {' · '.join(filter(None, before))}, "
            f"and this one is of {' · '.join(filter(None, after))}: choose another prefix, "
            "or log it to a child run (into=child)"
        )
