"""Real worker processes on this machine: their environment and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from frm_mlflow.devices.local import local_launch, open_local
from frm_mlflow.worker import PROTOCOL_VERSION

LONG_S = 60.0

ORPHAN = """
import sys, time
from frm_mlflow.devices.local import open_local
worker = open_local(name="orphan", threads=1)
worker.request("hello", timeout_s=60)
print(worker.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_says_hello_and_leaves():
    with open_local(name="tester", threads=1) as worker:
        hello = worker.request("hello", timeout_s=LONG_S)
        assert hello["pid"] == worker.pid
        assert hello["protocol"] == PROTOCOL_VERSION
    assert not psutil.pid_exists(worker.pid)


def test_threads_and_allocator_are_pinned_by_the_environment():
    environment = local_launch(threads=3).environment
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["MALLOC_MMAP_THRESHOLD_"] == "131072"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_a_worker_dies_with_a_parent_that_is_killed():
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="oom_score_adj is Linux's")
def test_the_system_would_kill_a_worker_before_its_controller():
    with open_local(name="tester", threads=1) as worker:
        worker.request("hello", timeout_s=LONG_S)
        assert int(Path(f"/proc/{worker.pid}/oom_score_adj").read_text()) == 1000
