"""Opens one parent run for all jobs of a Hydra multirun, and rejects launchers that make jobs disturb each other.

Hydra calls one job at a time and skips `on_multirun_end` if a job failed, so the parent is
opened by a callback and closed by the command line, whatever happens in between.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from tempfile import TemporaryDirectory
from typing import Any, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from frm_mlflow import redact
from frm_mlflow.errors import ConfigError, FrmError
from frm_mlflow.stages.job import exit_code, sentence
from frm_mlflow.tracking.signals import signals_as_interrupt

ONE_AT_A_TIME = ("hydra._internal.core_plugins.basic_launcher.BasicLauncher",)
OURS = "hydra_plugins.frm_mlflow_launchers."

FOLDER_PREFIX = "frm-multirun-"
FOLDER_VARIABLE = "FRM_MLFLOW_MULTIRUN"
"""Environment variable with the folder of Hydra's `multirun.yaml` (conf/hydra_quiet.yaml)."""

_SCOPE: ContextVar[ExitStack | None] = ContextVar("_SCOPE", default=None)


class SweepCallback(Callback):
    """Opens the parent run when a multirun starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run for all jobs of this multirun."""
        from frm_mlflow.stages.bench import shared_sweep

        scope = _SCOPE.get()
        redact.remember(cast(dict[str, Any], OmegaConf.to_container(config)))
        try:
            refuse_side_by_side(config.hydra.launcher)
            if scope is not None:
                scope.enter_context(shared_sweep(config))
        except FrmError as error:  # Hydra would turn it into a warning and continue
            sys.stderr.write(f"frm-mlflow: {sentence(error)}\n")
            raise SystemExit(exit_code(error)) from error


def refuse_side_by_side(launcher: DictConfig) -> None:
    """Raise `ConfigError` for a launcher that runs jobs in parallel without regard to their devices."""
    target = str(launcher.get("_target_"))
    if target not in ONE_AT_A_TIME and not target.startswith(OURS):
        name = target.split(".")[1].removeprefix("hydra_").removesuffix("_launcher") if "." in target else target
        raise ConfigError(
            f"hydra/launcher={name} runs jobs side by side, and benchmarks on one device would disturb each other: "
            "leave it out (one after the other), or take hydra/launcher=frm_ray or frm_slurm, which give each job a "
            "device of its own"
        )


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
