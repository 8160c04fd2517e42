"""Imported by every Python that starts on the campaign's Ray nodes: a job's process notes what it has measured."""

import os
import sys
from pathlib import Path

if "frm_mlflow.launcher.member" in sys.orig_argv:
    from tests.faults.journal import tap

    tap(Path(os.environ["FRM_FAULTS_JOURNAL"]))
