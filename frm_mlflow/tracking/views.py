"""Comparisons that MLflow's own UI offers under "Views" in the runs table of an experiment (docs/adr/0008)."""

from __future__ import annotations

import base64
import json
import re
import shlex
import zlib
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from rich.console import Console

from frm_mlflow import redact, schema

PREFIX = "mlflow.sharedViewState."
"""Experiment tags with this prefix are MLflow's saved views; the rest of the name is the key in a view's link."""


def _metrics(*metrics: schema.Metric) -> tuple[str, ...]:
    return tuple(f"metrics.`{metric.key}`" for metric in metrics)


def _tags(*tags: schema.Tag) -> tuple[str, ...]:
    return tuple(f"tags.`{tag.key}`" for tag in tags)


_BENCHMARK = f"tags.`{schema.KIND.key}` = '{schema.KIND_BENCHMARK}'"


@dataclass(frozen=True)
class View:
    """A filter in MLflow's syntax, the columns of the table, and the column that it is sorted by, lowest first."""

    key: str
    name: str
    filter: str
    columns: tuple[str, ...]
    order_by: str


VIEWS = (
    View(
        "frm-cheapest",
        "Cheapest first",
        f"{_BENCHMARK} AND attributes.status = 'FINISHED'",
        _metrics(schema.FRM, schema.RATIO_FLOPS, schema.RATIO_LATENCY, schema.RATIO_MEMORY, schema.TOP1),
        *_metrics(schema.FRM),
    ),
    View(
        "frm-fastest",
        "Fastest first, wherever it ran",
        f"{_BENCHMARK} AND attributes.status = 'FINISHED'",
        _metrics(schema.LATENCY_P50) + _tags(schema.DEVICE, schema.RUNTIME, schema.RUNTIME_VERSION, schema.PRECISION),
        *_metrics(schema.LATENCY_P50),
    ),
    View(
        "frm-unstable",
        "Measured, but unstable",
        f"{_BENCHMARK} AND tags.`{schema.UNSTABLE.key}` != ''",
        _metrics(schema.LATENCY_P50, schema.LATENCY_P50_LOW, schema.LATENCY_P50_HIGH) + _tags(schema.UNSTABLE),
        "attributes.start_time",
    ),
    View(
        "frm-failed",
        "Failed, and why",
        f"{_BENCHMARK} AND attributes.status != 'FINISHED'",
        _tags(schema.MODEL, schema.RUNTIME, schema.PRECISION, schema.REASON),
        "attributes.start_time",
    ),
)


LOCAL = "http://127.0.0.1:5000"
"""Default address of `mlflow server`."""


@dataclass(frozen=True)
class Links:
    """Addresses in MLflow's UI; `start` is the command that starts a server for them, "" if one is configured."""

    table: str
    page: str
    start: str

    def lines(self) -> tuple[str, ...]:
        """Return what to print after a command that has logged benchmarks."""
        started = (f"To look at them, start the UI:  {self.start}",) if self.start else ()
        return (*started, f"Cheapest first:  {self.table}", f"The frontier:    {self.page}")


def links(tracking_uri: str, experiment_id: str, *, key: str = "frm-cheapest") -> Links:
    """Return the links to a saved view of an experiment and to the /frm page.

    >>> links("http://me:secret@host:5000/", "3").table
    'http://host:5000/#/experiments/3/runs?viewStateShareKey=frm-cheapest'
    >>> links("sqlite:///mlflow.db", "1").start
    'mlflow server --app-name frm --backend-store-uri sqlite:///mlflow.db'
    """
    remote = tracking_uri.startswith(("http://", "https://"))
    base = redact.text(tracking_uri).rstrip("/") if remote else LOCAL
    base = re.sub(r"//[^/]*@", "//", base)
    command = ["mlflow", "server", "--app-name", "frm", "--backend-store-uri", redact.text(tracking_uri)]
    return Links(
        table=f"{base}/#/experiments/{experiment_id}/runs?viewStateShareKey={key}",
        page=f"{base}/frm",
        start="" if remote else shlex.join(command),
    )


def print_links(client: MlflowClient, experiment: str, out: Console) -> None:
    """Print where to see the benchmarks of an experiment; prints nothing if the server has no such experiment."""
    try:
        entity = client.get_experiment_by_name(experiment)
    except MlflowException as error:
        out.print(
            f"No link to the UI: {redact.text(str(error.message))}", markup=False, highlight=False, soft_wrap=True
        )
        return
    if entity is not None:
        for line in links(client.tracking_uri, str(entity.experiment_id)).lines():
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def as_tags(*, now_ms: int) -> dict[str, str]:
    """Return the views as tags of a new experiment."""
    return {f"{PREFIX}{view.key}": json.dumps(_saved(view, now_ms)) for view in VIEWS}


def _saved(view: View, now_ms: int) -> dict[str, object]:
    state = {
        "searchFilter": view.filter,
        "orderByKey": view.order_by,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(view.columns),
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return {"name": view.name, "createdAt": now_ms, "updatedAt": now_ms, "state": f"deflate;{packed}"}
