"""Moved to `tracking.server`."""

from frm_mlflow.tracking.server import find_run

__all__ = ["find_run"]
