"""Ensures that a worker does not outlive the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PARENT_VARIABLE = "FRM_WORKER_PARENT"
"""Environment variable with the id of the process that started the worker."""

SIGNAL_CODE = 128
"""Added to a signal's number at the remote end of a connection, as in shells: 137 is SIGKILL."""

_PR_SET_PDEATHSIG = 1
_KILLED_FIRST = "1000"


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, and to choose it first when memory runs out.

    On systems other than Linux, an idle worker ends when standard input ends.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is not None and os.getppid() != int(expected):
        sys.exit("the process that started this worker is gone")
    score = Path("/proc/self/oom_score_adj")
    if os.access(score, os.W_OK):
        score.write_text(_KILLED_FIRST)
