"""Which network should I ship on hardware that I cannot measure in full: benchmarks, FRM and prediction for MLflow.

Importing this package is deliberately cheap: MLflow imports it for its plugin hooks, and a
worker on a Jetson imports it without torch, mlflow or pandas being installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frm_mlflow.integrations.autolog import autolog
    from frm_mlflow.integrations.log_frm import log_frm
    from frm_mlflow.sweep.beside import FrmResult

__version__ = "0.1.0"
__all__ = ["FrmResult", "__version__", "autolog", "log_frm"]

_HOME = {
    "FrmResult": "frm_mlflow.sweep.beside",
    "autolog": "frm_mlflow.integrations.autolog",
    "log_frm": "frm_mlflow.integrations.log_frm",
}
"""Public names that are imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'frm_mlflow' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
