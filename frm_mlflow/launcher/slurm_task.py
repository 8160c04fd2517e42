"""The code that an element of a Slurm array runs: it does not import MLflow, since the job's own process does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from frm_mlflow.launcher.execute import execute
from frm_mlflow.launcher.request import Request
from frm_mlflow.schema import FLEET_NODE


def answer(plain: Mapping[str, Any], reply_file: str) -> None:
    """Run one job on this node and write its reply to a file: the body of an array's element."""
    node = os.environ.get("SLURMD_NODENAME", "")
    request = Request(**plain)
    reply = execute(replace(request, tags={**request.tags, FLEET_NODE.key: node}))
    partial = Path(f"{reply_file}.partial")
    partial.write_text(json.dumps(asdict(reply)), encoding="utf-8")
    partial.rename(reply_file)
