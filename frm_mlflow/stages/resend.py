"""`frm-mlflow resend`: logs what was kept on disk while the tracking server was away."""

from __future__ import annotations

from frm_mlflow.stages.progress import console
from frm_mlflow.tracking import spool


def resend(*, uri: str | None) -> int:
    """Log every waiting result exactly once; the exit code is 1 where some are still waiting."""
    report = spool.resend(uri=uri)
    out = console()
    out.print(f"{report.sent} logged, {report.present} were there already, {report.failed} failed, {report.left} wait.")
    return 0 if report.failed == 0 and report.left == 0 else 1
