"""How a Hydra job ends: one sentence and an exit code, without Hydra's own lines around it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode

from frm_mlflow.errors import FrmError


@contextmanager
def hydra_job() -> Iterator[None]:
    """End the process with the error's message and exit code; in a multirun let Hydra go on with the next job."""
    try:
        yield
    except (FrmError, HydraException) as error:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        sys.stderr.write(f"frm-mlflow: {sentence(error)}\n")
        raise SystemExit(exit_code(error)) from error


def sentence(error: BaseException) -> str:
    """Return what a person needs to know of `error`: Hydra's list of places where it looked is not that."""
    return str(error).split("Config search path")[0].rstrip()


def exit_code(error: BaseException) -> int:
    """Return the exit code for `error`: an FrmError's own, 2 for a configuration that Hydra refuses."""
    return error.exit_code if isinstance(error, FrmError) else 2
