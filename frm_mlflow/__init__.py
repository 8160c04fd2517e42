"""Which network should I ship on hardware that I cannot measure in full: benchmarks, FRM and prediction for MLflow.

Importing this package is deliberately cheap: MLflow imports it for its plugin hooks, and a
worker on a Jetson imports it without torch, mlflow or pandas being installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frm_mlflow.integrations.autolog import autolog
    from frm_mlflow.stages.attach import FrmResult
    from frm_mlflow.stages.live import log_frm

__version__ = "0.1.0"
__all__ = ["FrmResult", "__version__", "autolog", "log_frm"]

_HOME = {
    "FrmResult": "frm_mlflow.stages.attach",
    "autolog": "frm_mlflow.integrations.autolog",
    "log_frm": "frm_mlflow.stages.live",
}
"""Public names that are imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'frm_mlflow' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
