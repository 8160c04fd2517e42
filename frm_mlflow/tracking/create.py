"""Creating a run exactly once.

The server may have executed a request whose response is lost. MLflow's client sends it again, which leaves a second
run that no one refers to and that stays RUNNING. Here the request is sent once, with a mark. If no response arrives,
the server is first asked for the run with that mark before another is created.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.tracking import rest

ATTEMPTS = 3
WAIT_S = 0.5
"""Wait before the second attempt; doubled before each further one."""


def create_run(
    client: MlflowClient,
    experiment_id: str,
    *,
    name: str,
    tags: Mapping[str, str],
    start_ms: int,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Create a run with these tags and return its id.

    Parameters
    ----------
    tags
        Includes `schema.RECORD_ID` or `schema.OPENING`, with a value that no other run of the experiment has.

    Raises
    ------
    TrackingError
        If the server refuses, or does not respond several times.
    MlflowException
        If it also does not report whether the run was created; asking again might create a second run.
    """
    uri = client.tracking_uri
    if not rest.is_http(uri):
        return str(client.create_run(experiment_id, start_ms, dict(tags), name).info.run_id)
    body = {
        "experiment_id": experiment_id,
        "run_name": name,
        "start_time": start_ms,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    for wait_s in _waits():
        try:
            answer = rest.call(uri, "POST", "runs/create", body=body, retries=0)
            return str(answer["run"]["info"]["run_id"])
        except rest.NoAnswerError:
            if run_id := _marked(client, experiment_id, tags):
                return run_id
            if wait_s is None:
                raise
            sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def opened_by(client: MlflowClient, experiment_id: str, opening: str) -> list[str]:
    """Return the ids of RUNNING runs whose mark begins with `opening` and that have no result."""
    condition = f"tags.`{schema.OPENING.key}` LIKE '{opening}%' AND attributes.status = 'RUNNING'"
    runs = client.search_runs([experiment_id], condition, max_results=1000)
    return [str(run.info.run_id) for run in runs if schema.RECORD_ID.key not in run.data.tags]


def _waits() -> Iterator[float | None]:
    """Yield how long to wait after each attempt, and None after the last."""
    yield from (WAIT_S * 2**attempt for attempt in range(ATTEMPTS - 1))
    yield None


def _marked(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> str | None:
    """Return the run that has the mark of `tags`, or None if there is none."""
    mark = schema.RECORD_ID.key if schema.RECORD_ID.key in tags else schema.OPENING.key
    runs = client.search_runs([experiment_id], f"tags.`{mark}` = '{tags[mark]}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None
