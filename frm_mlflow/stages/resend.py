"""`frm-mlflow resend`: logs what was kept on disk while the tracking server was away."""

from __future__ import annotations

import json
import sys

from frm_mlflow.stages.progress import console
from frm_mlflow.tracking import spool


def resend(*, uri: str | None, as_json: bool = False) -> int:
    """Log every waiting result exactly once; the exit code is 1 where some are still waiting."""
    report = spool.resend(uri=uri)
    if as_json:
        left = [{"folder": str(folder), "reason": reason} for folder, reason in report.left]
        sys.stdout.write(json.dumps({"sent": report.sent, "present": report.present, "left": left}, indent=2) + "\n")
        return 1 if report.left else 0
    out = console()
    for folder, reason in report.left:
        out.print(f"{folder.name}: {reason}", markup=False, highlight=False)
    out.print(f"{report.sent} logged, {len(report.left)} wait.", highlight=False)
    return 1 if report.left else 0
