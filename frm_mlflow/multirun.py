"""Keeps the parent run of a Hydra multirun open until its last job has ended.

Hydra calls one job at a time and skips `on_multirun_end` if a job failed. So `runners.bench.SweepCallback` opens the
parent run, and the command line closes it, whatever happens in between.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from tempfile import TemporaryDirectory

from frm_mlflow.tracking.signals import signals_as_interrupt

FOLDER_PREFIX = "frm-multirun-"
FOLDER_VARIABLE = "FRM_MLFLOW_MULTIRUN"
"""Environment variable with the folder of Hydra's `multirun.yaml` (conf/hydra_quiet.yaml)."""

_SCOPE: ContextVar[ExitStack | None] = ContextVar("_SCOPE", default=None)


def current() -> ExitStack | None:
    """Return what the innermost `scope` closes on exit, or None outside of one."""
    return _SCOPE.get()


@contextmanager
def scope() -> Iterator[None]:
    """Close, on exit, the parent run that a multirun opened inside this scope.

    Hydra writes its `multirun.yaml`, which contains the full configuration, to a folder that no other user can read
    and that is removed with the scope.
    """
    with signals_as_interrupt(), ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix=FOLDER_PREFIX))
        token = _SCOPE.set(stack)
        try:
            os.environ[FOLDER_VARIABLE] = folder
            yield
        finally:
            os.environ.pop(FOLDER_VARIABLE, None)
            _SCOPE.reset(token)
