"""The code that a Ray worker runs: it does not import MLflow, since the job's own process does that anyway."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from frm_mlflow.launcher.execute import execute
from frm_mlflow.launcher.ray_cluster import RUNNING, Board, Line
from frm_mlflow.launcher.request import Request
from frm_mlflow.schema import FLEET_NODE


def supervise(plain: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    """Run one job on this node: the body of a Ray task."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    Board().put(replace(Line(**line), state=RUNNING, since_s=time.time(), node=node))
    request = Request(**plain)
    return asdict(execute(replace(request, tags={**request.tags, FLEET_NODE.key: node})))
