"""FRM in PyTorch Lightning: at the end of training, or as a curve over epochs."""

from __future__ import annotations

import importlib
from typing import Any

from frm_mlflow.errors import ConfigError, MissingExtraError
from frm_mlflow.integrations.autolog import run_of_training, run_or_new
from frm_mlflow.integrations.guard import log_guarded
from frm_mlflow.integrations.settings import FrmSettings
from frm_mlflow.integrations.watch import FirstCall


def _base() -> Any:
    """Return the callback class of whichever Lightning is installed."""
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return importlib.import_module(f"{package}.callbacks").Callback
        except ModuleNotFoundError:
            continue
    raise MissingExtraError("lightning", "lightning", "FRMCallback")


class FRMCallback(_base()):  # type: ignore[misc] # known only at run time
    """Benchmarks the trained module and logs it to the training's run.

    Parameters
    ----------
    every_n_epochs
        Also benchmark after every this many epochs; the metrics have the global step, so that FRM
        is a curve while a network is pruned, distilled or searched.
    example_input
        Arguments of one call of `forward`. Defaults to the module's `example_input_array`, or else to the
        first call that training makes.
    settings
        The settings of `log_frm`; `measure` defaults to the protocol that takes seconds.

    The run is that of the trainer's `MLFlowLogger`, else MLflow's active one, else a new one.
    """

    def __init__(self, *, every_n_epochs: int | None = None, example_input: Any = None, **settings: Any) -> None:
        if every_n_epochs is not None and every_n_epochs < 1:
            raise ConfigError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        super().__init__()
        self._every = every_n_epochs
        self._example = example_input
        self._settings = FrmSettings.in_training(**settings)
        self._watch: FirstCall | None = None
        self._logged_at: int | None = None
        self._run_id: str | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """Start looking for an example."""
        self._watch = FirstCall(pl_module, samples=self._settings.batch_size)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Benchmark if it is due after this epoch."""
        if self._every is not None and (trainer.current_epoch + 1) % self._every == 0:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Benchmark the trained module, unless the last epoch was benchmarked."""
        if self._watch is not None:
            self._watch.stop()
        if self._logged_at != trainer.global_step:
            self._log(trainer, pl_module)

    def _log(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        self._logged_at = trainer.global_step
        example = self._example if self._example is not None else pl_module.example_input_array
        watch = self._watch
        subject, example = (pl_module, example) if example is not None or watch is None else (watch.model, watch.call)
        seen = self._run_id or (watch.run_id if watch is not None else None)
        with run_of_training(trainer, seen=seen) as (run_id, uri), run_or_new(run_id) as target:
            self._run_id = target
            log_guarded(subject, example, self._settings, run_id=target, step=trainer.global_step, tracking_uri=uri)
