"""How a Hydra job ends: one sentence and an exit code, without Hydra's own lines around it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from frm_mlflow.errors import FrmError


@contextmanager
def hydra_job() -> Iterator[None]:
    """End the process with the error's message and exit code; in a multirun let Hydra go on with the next job."""
    try:
        yield
    except FrmError as error:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        sys.stderr.write(f"frm-mlflow: {error}\n")
        raise SystemExit(error.exit_code) from error
