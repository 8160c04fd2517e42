"""One parent run for all jobs of a Hydra multirun.

Hydra calls a job at a time and skips `on_multirun_end` where a job failed, so the parent is
opened by a callback and closed by the command line, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_SCOPE: ContextVar[ExitStack | None] = ContextVar("_SCOPE", default=None)


class SweepCallback(Callback):
    """Opens the parent run when a multirun starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run that every job of this multirun logs under."""
        from frm_mlflow.stages.bench import shared_sweep

        scope = _SCOPE.get()
        if scope is not None:
            scope.enter_context(shared_sweep(config))


@contextmanager
def scope() -> Iterator[None]:
    """Close, when it is left, the parent run that a multirun opened within."""
    with ExitStack() as stack:
        token = _SCOPE.set(stack)
        try:
            yield
        finally:
            _SCOPE.reset(token)
