"""Logging functions for the stages: open a sweep, end its benchmarks, attach tables and figures, resume."""

from frm_mlflow.tracking.artifacts import (
    describe,
    log_folder,
    log_metrics,
    log_table,
    log_text,
)
from frm_mlflow.tracking.attachments import Attachments, flat_params
from frm_mlflow.tracking.lease import LeaseLostError
from frm_mlflow.tracking.member import close_lost_job, join_sweep
from frm_mlflow.tracking.resume import close_orphans, completed, runner_of, unfinished_sweep
from frm_mlflow.tracking.spool import resend
from frm_mlflow.tracking.summary import Summary
from frm_mlflow.tracking.sweep import BenchmarkRun, Outcome, Sweep, open_sweep

__all__ = [
    "Attachments",
    "BenchmarkRun",
    "LeaseLostError",
    "Outcome",
    "Summary",
    "Sweep",
    "close_lost_job",
    "close_orphans",
    "completed",
    "describe",
    "flat_params",
    "join_sweep",
    "log_folder",
    "log_metrics",
    "log_table",
    "log_text",
    "open_sweep",
    "resend",
    "runner_of",
    "unfinished_sweep",
]
