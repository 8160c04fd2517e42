"""A network's module, imported by its worker: a worker whose process id is in a file leaks memory."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

VARIABLE = "FRM_FAULTS_LEAKY"
"""Path of the file that names the worker."""
_CHUNK = 32 * 2**20


def leak_when_named() -> None:
    """Start waiting for the file, in a worker."""
    if VARIABLE in os.environ and "frm_mlflow.worker" in sys.orig_argv:
        threading.Thread(target=_leak, args=(Path(os.environ[VARIABLE]),), daemon=True).start()


def _leak(named: Path) -> None:
    hoard: list[bytes] = []
    while True:
        if hoard or (named.exists() and named.read_text() == str(os.getpid())):
            hoard.append(b"x" * _CHUNK)
        time.sleep(0.005)
