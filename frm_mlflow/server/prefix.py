"""The path prefix of MLflow's routes: `mlflow server --static-prefix`."""

from __future__ import annotations

import os


def static_prefix() -> str:
    """Return the path before all of MLflow's routes, without a trailing slash; usually empty.

    MLflow passes it to its workers in an environment variable.
    """
    return os.environ.get("_MLFLOW_STATIC_PREFIX", "").rstrip("/")
