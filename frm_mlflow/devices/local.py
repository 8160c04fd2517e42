"""The local transport: a worker as a subprocess on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence

from frm_mlflow import redact
from frm_mlflow.devices.client import Launch, WorkerClient
from frm_mlflow.worker.parent import PARENT_VARIABLE
from frm_mlflow.worker.start import environment, python_command

MALLOC_MMAP_THRESHOLD = 131072
"""Fixed, because glibc otherwise raises it as large blocks are freed and then keeps load-time buffers."""


def worker_variables(threads: int) -> dict[str, str]:
    """Return the environment variables for every worker, on any host."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_THRESHOLD_": str(MALLOC_MMAP_THRESHOLD),
        "PYTHONUNBUFFERED": "1",
    }


def local_launch(
    *, threads: int, affinity: Sequence[int] | None = None, memory_limit_mib: float | None = None
) -> Launch:
    """Return how to start a worker on this machine with `threads` threads that do not spin."""
    extra = worker_variables(threads) | {PARENT_VARIABLE: str(os.getpid())}
    return Launch(
        command=python_command("frm_mlflow.worker"),
        environment=environment(redact.snapshot(os.environ), extra),
        affinity=None if affinity is None else frozenset(affinity),
        memory_limit_mib=memory_limit_mib,
    )


def open_local(
    *, name: str, threads: int, affinity: Sequence[int] | None = None, memory_limit_mib: float | None = None
) -> WorkerClient:
    """Start a worker on this machine, called `name` in error messages."""
    launch = local_launch(threads=threads, affinity=affinity, memory_limit_mib=memory_limit_mib)
    return WorkerClient(launch, name=name)
