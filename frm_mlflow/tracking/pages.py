"""Benchmark runs page by page, as rows of the tidy frame.

From a server they are read as raw JSON, from a database through MLflow's own store.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.search_utils import SearchUtils

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking import rest

Row = dict[str, Any]
"""One run: its `schema.FRAME_COLUMNS`, if set, with times in milliseconds since the epoch, and `NOT_FINITE`."""

NOT_FINITE = "not_finite"
"""Additional column of a row: the keys of its NaN or infinite metrics, which the row itself omits."""

PAGE_SIZE = 1000
PAGES_AT_ONCE = 4
MOST_RUNS = 2**24
"""More runs than any server has: a server that returns more never stops."""
LARGEST = sys.float_info.max
"""The value that MLflow's databases store for infinity."""

TAG_COLUMNS = {tag.key: tag.column for tag in schema.TAGS} | {MLFLOW_PARENT_RUN_ID: "parent_run_id"}
METRIC_COLUMNS = {metric.key: metric.column for metric in schema.METRICS}


@dataclass(frozen=True)
class Selection:
    """The runs of some experiments that match an MLflow filter (conditions joined by AND)."""

    client: MlflowClient
    experiment_ids: tuple[str, ...]
    conditions: tuple[str, ...] = ()

    def where(self, *conditions: str) -> Selection:
        """Return the selection narrowed by further conditions; empty ones are ignored."""
        return Selection(self.client, self.experiment_ids, (*self.conditions, *(c for c in conditions if c)))

    @property
    def filter(self) -> str:
        """The conditions in MLflow's filter syntax."""
        return " AND ".join(self.conditions)


def tag_is(tag: str, value: str) -> str:
    """Return the condition that a run's tag has a value."""
    return f"tags.`{tag}` = '{value}'"


def pages(selection: Selection, *, deleted: bool = False, page_size: int = PAGE_SIZE) -> Iterator[list[Row]]:
    """Yield the selected runs page by page: active ones or, with `deleted`, those in the trash.

    From a server several pages are fetched at once, after the first one alone: most results have only one page.
    """
    rows, token = page(selection, deleted=deleted, size=page_size)
    yield rows
    if token and not rest.is_http(selection.client.tracking_uri):
        while token:
            rows, token = page(selection, token=token, deleted=deleted, size=page_size)
            yield rows
    elif token:
        before = rows
        for rows in _pages_at_once(selection, deleted=deleted, page_size=page_size):
            if rows and [row["run_id"] for row in rows] == [row["run_id"] for row in before]:
                raise TrackingError(f"the tracking server at {selection.client.tracking_uri} repeats the same runs")
            before = rows
            yield rows


def _pages_at_once(selection: Selection, *, deleted: bool, page_size: int) -> Iterator[list[Row]]:
    """Yield the second page and those after it."""

    def fetch(number: int) -> tuple[list[Row], str]:
        return page(selection, token=_token(number * page_size), deleted=deleted, size=page_size)

    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        numbers = itertools.count(1)
        waiting = deque(pool.submit(fetch, next(numbers)) for _ in range(PAGES_AT_ONCE))
        more = True
        while more:
            rows, token = waiting.popleft().result()
            more = bool(token)
            waiting.append(pool.submit(fetch, next(numbers)))
            yield rows
        for future in waiting:
            future.cancel()


def page(selection: Selection, *, token: str = "", deleted: bool = False, size: int) -> tuple[list[Row], str]:
    """Return one page of the selected runs and the token of the next page, "" after the last.

    Raises
    ------
    TrackingError
        If the server does not respond, or refuses the filter or the experiment.
    """
    uri = selection.client.tracking_uri
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    if rest.is_http(uri):
        body = {
            "experiment_ids": list(selection.experiment_ids),
            "filter": selection.filter,
            "run_view_type": ViewType.to_string(view).upper(),
            "max_results": size,
            "page_token": token,
        }
        answer = rest.call(uri, "POST", "runs/search", body=body)
        return [row_of_json(run) for run in answer.get("runs", ())], answer.get("next_page_token", "")
    try:
        runs = selection.client.search_runs(
            list(selection.experiment_ids), selection.filter, view, max_results=size, page_token=token or None
        )
    except MlflowException as error:
        raise TrackingError(f"the tracking store {uri} refused the query: {error.message}") from error
    return [row_of_run(run) for run in runs], runs.token or ""


def together(selection: Selection, *calls: Callable[[], Any]) -> list[Any]:
    """Return the result of each call; calls to a server run concurrently, calls to a database one after the other."""
    if not rest.is_http(selection.client.tracking_uri):
        return [call() for call in calls]
    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        return list(pool.map(lambda call: call(), calls))


def counts(selection: Selection, expected: int) -> bool:
    """Whether exactly `expected` active runs are selected, with one request that transfers at most two runs."""
    rows, token = _window(selection, max(expected - 1, 0))
    return len(rows) == min(expected, 1) and not token


def count(selection: Selection) -> int:
    """Return how many active runs are selected, with a few requests that transfer one run each."""
    low, high = 0, 1
    while _reaches(selection, high):
        if high >= MOST_RUNS:
            raise TrackingError(f"the tracking server at {selection.client.tracking_uri} returns runs without end")
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _reaches(selection, middle) else (low, middle)
    return low


def _reaches(selection: Selection, number: int) -> bool:
    return bool(_window(selection, number - 1, size=1)[0])


def _window(selection: Selection, offset: int, *, size: int = 2) -> tuple[list[Row], str]:
    return page(selection, token=_token(offset), size=size)


def _token(offset: int) -> str:
    """Return the page token for the runs starting at `offset` (docs/adr/0014)."""
    return str(SearchUtils.create_page_token(offset).decode()) if offset else ""


def row_of_json(run: Mapping[str, Any]) -> Row:
    """Return a run of the REST API as a row."""
    info, data = run["info"], run.get("data", {})
    tags = ((tag["key"], tag.get("value", "")) for tag in data.get("tags", ()))
    metrics = ((metric["key"], float(metric["value"])) for metric in data.get("metrics", ()))
    facts = (info["run_id"], info["experiment_id"], info["status"], info["start_time"], info.get("end_time"))
    return make_row(facts, tags, metrics)


def row_of_run(run: Run) -> Row:
    """Return a run of MLflow's client as a row."""
    info = run.info
    facts = (info.run_id, info.experiment_id, info.status, info.start_time, info.end_time)
    return make_row(facts, run.data.tags.items(), run.data.metrics.items())


def make_row(facts: Sequence[Any], tags: Iterable[tuple[str, str]], metrics: Iterable[tuple[str, float]]) -> Row:
    """Return a row from a run's id, experiment, status, start and end (ms), its tags and its metrics."""
    run_id, experiment_id, status, start_ms, end_ms = facts
    row: Row = {
        "run_id": run_id,
        "experiment_id": str(experiment_id),
        "status": status,
        "start_time": int(start_ms),
        "end_time": int(end_ms) if end_ms else None,
    }
    row.update((TAG_COLUMNS[key], value) for key, value in tags if key in TAG_COLUMNS)
    not_finite = []
    for key, value in metrics:
        if key in METRIC_COLUMNS:
            finite = abs(value) < LARGEST
            row[METRIC_COLUMNS[key]] = value if finite else math.nan
            if not finite:
                not_finite.append(key)
    return row | {NOT_FINITE: " ".join(not_finite)}


def named_experiments(client: MlflowClient, names: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of experiments by name.

    Raises
    ------
    TrackingError
        If one does not exist (the message lists those that do), or may not be read.
    """
    return tuple(_experiment_id(client, name) for name in names)


def _experiment_id(client: MlflowClient, name: str) -> str:
    try:
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        existing = ", ".join(sorted(e.name for e in client.search_experiments(max_results=50)))
    except MlflowException as error:
        remedy = f": {rest.LOGIN_REMEDY}" if error.error_code in ("PERMISSION_DENIED", "UNAUTHENTICATED") else ""
        raise TrackingError(f"experiment '{name}' cannot be read: {rest.first_line(error)}{remedy}") from error
    raise TrackingError(f"experiment '{name}' does not exist at {client.tracking_uri}, which has: {existing}")
