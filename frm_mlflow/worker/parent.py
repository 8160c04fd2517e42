"""A worker must not outlive the process that asked for it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PARENT_VARIABLE = "FRM_WORKER_PARENT"
"""The process that starts a worker writes its own id here."""

SIGNAL_CODE = 128
"""Added to a signal's number at the far end of a connection, as shells do: 137 is SIGKILL."""

_PR_SET_PDEATHSIG = 1
_KILLED_FIRST = "1000"


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, and to prefer it when memory runs out.

    Elsewhere than on Linux the end of standard input ends an idle worker.
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
