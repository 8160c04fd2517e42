"""The controller: warm-up, interleaving with the baseline, stopping rule, estimators."""

from frm_mlflow.measure.controller import OpenWorker, benchmark
from frm_mlflow.measure.result import BASELINE, MODEL, Identity, Measurement

__all__ = ["BASELINE", "MODEL", "Identity", "Measurement", "OpenWorker", "benchmark"]
