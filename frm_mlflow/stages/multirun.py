"""One parent run for all jobs of a Hydra multirun.

Hydra calls a job at a time and skips `on_multirun_end` where a job failed, so the parent is
opened by a callback and closed by the command line, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from frm_mlflow.stages import bench


class SweepCallback(Callback):  # type: ignore[misc]  # hydra ships no types
    """Opens the parent run when a multirun starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run that every job of this multirun logs under."""
        if _scope is not None:
            _scope.enter_context(bench.shared_sweep(config))


_scope: ExitStack | None = None


@contextmanager
def scope() -> Iterator[None]:
    """Close, when it is left, the parent run that a multirun opened within."""
    global _scope  # noqa: PLW0603 -- Hydra makes the callback itself, so this is the only way to it
    with ExitStack() as stack:
        _scope = stack
        try:
            yield
        finally:
            _scope = None
