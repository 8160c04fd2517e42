"""Logging a benchmark to a run created by someone else: its name, status and times do not change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, Metric, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, TrackingError
from frm_mlflow.tracking.entry import RunEntry, Sent, clean
from frm_mlflow.tracking.rest import refused

FOLDER = "frm"
"""Each attached benchmark has a separate folder of artifacts below this one."""


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Return a run.

    Raises
    ------
    TrackingError
        If the server does not have it or does not show it.
    """
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        said = refused(error, permission="READ permission on its experiment")
        raise TrackingError(f"run '{run_id}' at {client.tracking_uri}: {said}") from error


def join(client: MlflowClient, entry: RunEntry, artifacts: Path | None = None) -> Sent:
    """Log `entry` with the files in `artifacts` to the run that it joins.

    Every point has the entry's time and step, so MLflow stores it once: sending it again changes nothing.

    Raises
    ------
    ConfigError
        If the run has a benchmark of another configuration under the same prefix.
    TrackingError
        If the server does not have the run or does not show it.
    """
    run = find_run(client, str(entry.run_id))
    _refuse_overwriting(run, entry)
    run_id = str(run.info.run_id)
    if entry.model_id:
        declare(client, run, entry.model_id)
    points = metrics(run_id, entry.metrics, time_ms=entry.end_ms, step=entry.step, model_id=entry.model_id or None)
    client.log_batch(
        run_id,
        metrics=points,
        tags=[RunTag(key, value) for key, value in (clean(entry.tags) | _attached(run, entry)).items()],
    )
    if artifacts is not None and any(artifacts.iterdir()):
        client.log_artifacts(run_id, str(artifacts), f"{FOLDER}/{entry.record_id}")
    return Sent(run_id, logged=True)


def metrics(run_id: str, values: Mapping[str, float], *, time_ms: int, step: int, model_id: str | None) -> list[Metric]:
    """Return values as the points of a run, and of a LoggedModel if one is given."""
    return [Metric(key, value, time_ms, step, model_id=model_id, run_id=run_id) for key, value in values.items()]


def declare(client: MlflowClient, run: Run, model_id: str) -> None:
    """Make the model an input of the run, unless the run created it or already has it."""
    inputs = run.inputs.model_inputs if run.inputs else []
    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in {model.model_id for model in (*(inputs or ()), *(outputs or ()))}:
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(model_id=model_id)])


def _attached(run: Run, entry: RunEntry) -> dict[str, str]:
    """Return the tag that lets caches detect a benchmark that was attached to a run after its end."""
    if entry.prefix or not RunStatus.is_terminated(RunStatus.from_string(run.info.status)):
        return {}
    return {schema.ATTACHED_ON.key: datetime.now(timezone.utc).date().isoformat()}


def _refuse_overwriting(run: Run, entry: RunEntry) -> None:
    """Raise an error if the run's metrics under this prefix come from another configuration."""
    tags, prefix = run.data.tags, entry.prefix
    if prefix + schema.RECORD_ID.key not in tags:
        return
    keys = [prefix + tag.key for tag in schema.CONFIGURATION_TAGS]
    there, here = ([of.get(key, "") for key in keys] for of in (tags, clean(entry.tags)))
    if there != here:
        raise ConfigError(
            f"run '{run.info.run_id}' carries a benchmark of {' · '.join(filter(None, there))} already, "
            f"and this one is of {' · '.join(filter(None, here))}: give it a prefix of its own, "
            "or log it to a run below (into=child)"
        )
