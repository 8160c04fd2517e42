"""FRM in Hugging Face's Trainer: at the end of training, or as a curve over epochs."""

from __future__ import annotations

from typing import Any

import mlflow

from frm_mlflow.errors import ConfigError, MissingExtraError
from frm_mlflow.integrations.guard import log_guarded
from frm_mlflow.integrations.log_frm import say
from frm_mlflow.integrations.settings import FrmSettings
from frm_mlflow.integrations.watch import FirstCall

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise MissingExtraError("transformers", "transformers", "FRMCallback") from error


class FRMCallback(TrainerCallback):
    """Benchmarks the trained model and logs it to the run that is active while it trains.

    Parameters
    ----------
    every_n_epochs
        Also benchmark after every this many epochs; the metrics have the global step.
    example_input
        Keyword arguments of one call of the model. Defaults to those of training's first call, without labels.
    settings
        The settings of `log_frm`; `measure` defaults to the protocol that takes seconds.
    """

    def __init__(self, *, every_n_epochs: int | None = None, example_input: Any = None, **settings: Any) -> None:
        if every_n_epochs is not None and every_n_epochs < 1:
            raise ConfigError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self._every = every_n_epochs
        self._example = example_input
        self._settings = FrmSettings.in_training(**settings)
        self._watch: FirstCall | None = None
        self._run_id: str | None = None
        self._logged_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start looking for an example."""
        self._watch = FirstCall(kwargs["model"], samples=self._settings.batch_size)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Remember the run: MLflow's own callback may end it before this one is told that training has ended."""
        if self._run_id is None and (run := mlflow.active_run()) is not None:
            self._run_id = run.info.run_id

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Benchmark if it is due after this epoch."""
        if self._every is not None and round(state.epoch) % self._every == 0:
            self._log(state, kwargs["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Benchmark the trained model, unless the last epoch was benchmarked."""
        if self._watch is not None:
            self._watch.stop()
        if self._logged_at != state.global_step:
            self._log(state, kwargs["model"])

    def _log(self, state: Any, model: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._logged_at = state.global_step
        seen = self._watch.call if self._watch is not None else None
        run_id = self._run_id or _active_run_id()
        if run_id is None:
            say("FRM was not logged: there is no active MLflow run: train within `with mlflow.start_run():`")
            return
        example = self._example if self._example is not None else seen
        log_guarded(model, example, self._settings, run_id=run_id, step=state.global_step)


def _active_run_id() -> str | None:
    run = mlflow.active_run()
    return None if run is None else str(run.info.run_id)
