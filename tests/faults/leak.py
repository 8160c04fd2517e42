"""A worker that can leak memory: it does so once its process id is in a file."""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "FRM_FAULTS_LEAKY"
"""Path of the file that names the worker; set only for sweeps with a leak."""
_CHUNK = 32 * 2**20
_MOST_CHUNKS = 64
"""2 GiB in all, should no one stop the worker."""


def make_workers_leaky() -> None:
    """Start this process's local workers through this module, which works for every runtime."""
    from frm_mlflow.devices import local

    command: Callable[..., list[str]] = local.python_command
    local.python_command = lambda module, *arguments: command(__name__, module, *arguments)


def main() -> None:
    """Run the module that the first argument names, with a thread that waits for the file."""
    threading.Thread(target=_leak, args=(Path(os.environ[VARIABLE]),), daemon=True).start()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _leak(named: Path) -> None:
    while not (named.exists() and named.read_text() == str(os.getpid())):
        time.sleep(0.005)
    hoard = [b"x" * _CHUNK for _ in range(_MOST_CHUNKS)]
    threading.Event().wait()  # for ever, so that the memory stays in use
    hoard.clear()


if __name__ == "__main__":
    main()
