"""Comparisons that MLflow's own UI offers under "Views" in the runs table of an experiment (docs/adr/0111)."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass

from frm_mlflow import schema

PREFIX = "mlflow.sharedViewState."
"""Experiment tags of this name are MLflow's saved views; what follows it is the key in a view's link."""


def _metrics(*metrics: schema.Metric) -> tuple[str, ...]:
    return tuple(f"metrics.`{metric.key}`" for metric in metrics)


def _tags(*tags: schema.Tag) -> tuple[str, ...]:
    return tuple(f"tags.`{tag.key}`" for tag in tags)


_BENCHMARK = f"tags.`{schema.KIND.key}` = '{schema.KIND_BENCHMARK}'"


@dataclass(frozen=True)
class View:
    """A filter in MLflow's syntax, the columns of the table, and the one that it is sorted by, the lowest first."""

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
