"""Everything that a sweep imports; the fork server imports it once."""

from __future__ import annotations

import mlflow.store.artifact.mlflow_artifacts_repo
import mlflow.tracking.client
import plotly.graph_objects
import psutil
import pyarrow.parquet
import requests

import frm_mlflow.cli
import frm_mlflow.runners.bench
import frm_mlflow.runners.resend
import tests.faults.journal

__all__ = ["frm_mlflow", "mlflow", "plotly", "psutil", "pyarrow", "requests", "tests"]
