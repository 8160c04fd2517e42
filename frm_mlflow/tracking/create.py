"""Creating a run exactly once.

A request whose answer is lost may have been obeyed. MLflow's client sends it again, which leaves a second run that
nobody knows and that stays RUNNING. Here it is sent once, with a mark; where no answer comes, the server is asked
for the run that carries the mark before it is asked for another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.tracking import rest

ATTEMPTS = 3
WAIT_S = 0.5
"""Before the second attempt; twice as long before each further one."""


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
        With `schema.RECORD_ID` or `schema.OPENING`, which no other run of the experiment carries the same.

    Raises
    ------
    TrackingError
        Where the server refuses, or does not answer several times.
    MlflowException
        Where it does not say either whether it has obeyed; asking again might create a second run.
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
            if found := _marked(client, experiment_id, tags):
                return found
            if wait_s is None:
                raise
            sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def opened_by(client: MlflowClient, experiment_id: str, opening: str) -> list[str]:
    """Return the ids of the runs whose mark begins with `opening`, that are RUNNING and that no result belongs to."""
    condition = f"tags.`{schema.OPENING.key}` LIKE '{opening}%' AND attributes.status = 'RUNNING'"
    runs = client.search_runs([experiment_id], condition, max_results=1000)
    return [str(run.info.run_id) for run in runs if schema.RECORD_ID.key not in run.data.tags]


def _waits() -> Iterator[float | None]:
    """Yield how long to wait after each attempt; None after the last."""
    yield from (WAIT_S * 2**attempt for attempt in range(ATTEMPTS - 1))
    yield None


def _marked(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> str | None:
    """Return the run that carries the mark of `tags`; None where there is none."""
    mark = schema.RECORD_ID.key if schema.RECORD_ID.key in tags else schema.OPENING.key
    runs = client.search_runs([experiment_id], f"tags.`{mark}` = '{tags[mark]}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None
