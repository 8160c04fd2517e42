"""Imported by every Python on the campaign's Ray nodes, so that a job's process records its measurements."""

import os
import sys
from pathlib import Path

if "frm_mlflow.launcher.job_process" in sys.orig_argv:
    from tests.faults.journal import tap

    tap(Path(os.environ["FRM_FAULTS_JOURNAL"]))
