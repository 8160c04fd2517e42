"""What an earlier, interrupted sweep has left on the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking.entry import FINISHED, KILLED

RUNNING = "RUNNING"
NOTHING: Mapping[str, str] = MappingProxyType({})


def completed(client: MlflowClient, experiment_id: str, *, parent_run_id: str | None = None) -> dict[str, str]:
    """Return the run id of every FINISHED benchmark by its `frm.config_hash`; of several, the newest.

    With `parent_run_id`, only benchmarks below that run are returned.
    """
    conditions = [_equals(schema.KIND.key, schema.KIND_BENCHMARK), f"attributes.status = '{FINISHED}'"]
    if parent_run_id is not None:
        conditions.append(_equals(MLFLOW_PARENT_RUN_ID, parent_run_id))
    newest_last = sorted(_search(client, experiment_id, conditions), key=lambda run: run.info.end_time or 0)
    hashes = ((run.data.tags.get(schema.CONFIG_HASH.key), run) for run in newest_last)
    return {config_hash: run.info.run_id for config_hash, run in hashes if config_hash}


def unfinished_sweep(client: MlflowClient, experiment: str, *, config_hash: str) -> str | None:
    """Return the newest sweep run with the same `frm.config_hash`, unless it has FINISHED."""
    entity = client.get_experiment_by_name(experiment)
    if entity is None:
        return None
    conditions = [_equals(schema.KIND.key, schema.KIND_SWEEP), _equals(schema.CONFIG_HASH.key, config_hash)]
    runs = _search(client, entity.experiment_id, conditions)
    newest = max(runs, key=lambda run: run.info.start_time, default=None)
    return None if newest is None or newest.info.status == FINISHED else str(newest.info.run_id)


def runner_of(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """Return the host and the process that last reported running this sweep, or "" if none did."""
    tags = client.get_run(run_id).data.tags
    return tags.get(schema.HOST.key, ""), tags.get(schema.PROCESS.key, "")


def close_orphans(client: MlflowClient, parent_run_id: str, *, reason: str) -> int:
    """End every run below `parent_run_id` that is still RUNNING as KILLED; return how many there were.

    Use it only for a sweep whose process has ended: benchmarks of a live one would be closed too.
    """
    parent = client.get_run(parent_run_id)
    conditions = [_equals(MLFLOW_PARENT_RUN_ID, parent_run_id), f"attributes.status = '{RUNNING}'"]
    orphans = list(_search(client, parent.info.experiment_id, conditions))
    for run in orphans:
        client.set_tag(run.info.run_id, schema.REASON.key, reason)
        client.set_terminated(run.info.run_id, KILLED)
    return len(orphans)


def runs_below(client: MlflowClient, parent_run_id: str, *, tags: Mapping[str, str] = NOTHING) -> list[Run]:
    """Return the runs below `parent_run_id` that have these tags, whatever their status."""
    experiment_id = client.get_run(parent_run_id).info.experiment_id
    conditions = [_equals(MLFLOW_PARENT_RUN_ID, parent_run_id), *(_equals(key, value) for key, value in tags.items())]
    return list(_search(client, experiment_id, conditions))


def _equals(tag: str, value: str) -> str:
    return f"tags.`{tag}` = '{value}'"


def _search(client: MlflowClient, experiment_id: str, conditions: list[str]) -> Iterator[Run]:
    token: str | None = None
    seen: set[str] = set()
    while True:
        page = client.search_runs([experiment_id], " AND ".join(conditions), page_token=token)
        yield from page
        token = page.token
        if not token:
            return
        if token in seen:
            raise TrackingError(f"the tracking server at {client.tracking_uri} repeats the same runs")
        seen.add(token)
