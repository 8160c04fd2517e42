"""One parent run for all jobs of a Hydra multirun, and no launcher that would make them disturb each other.

Hydra calls a job at a time and skips `on_multirun_end` where a job failed, so the parent is
opened by a callback and closed by the command line, whatever happened in between.
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
"""Where Hydra writes its `multirun.yaml` (conf/hydra_quiet.yaml)."""

_SCOPE: ContextVar[ExitStack | None] = ContextVar("_SCOPE", default=None)


class SweepCallback(Callback):
    """Opens the parent run when a multirun starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run that every job of this multirun logs under."""
        from frm_mlflow.stages.bench import shared_sweep

        scope = _SCOPE.get()
        redact.remember(cast(dict[str, Any], OmegaConf.to_container(config)))
        try:
            refuse_side_by_side(config.hydra.launcher)
            if scope is not None:
                scope.enter_context(shared_sweep(config))
        except FrmError as error:  # of which Hydra would make a warning, and go on
            sys.stderr.write(f"frm-mlflow: {sentence(error)}\n")
            raise SystemExit(exit_code(error)) from error


def refuse_side_by_side(launcher: DictConfig) -> None:
    """Raise `ConfigError` for a launcher that runs jobs at the same time without regard to their devices."""
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
    """Close, when it is left, the parent run that a multirun opened within.

    Hydra writes its `multirun.yaml`, which holds the whole configuration, to a folder that nobody else can read
    and that ends with the scope.
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
