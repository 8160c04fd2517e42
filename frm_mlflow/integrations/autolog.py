"""`frm_mlflow.autolog()`: logs the FRM of every model that is trained or logged, once per model.

Four functions of other libraries are wrapped if and when they are imported: `fit` of Lightning's
Trainer, `train` of Transformers' Trainer, `mlflow.pytorch.log_model` and `mlflow.onnx.log_model`.
Each first does its work unchanged; the benchmark that follows cannot make it fail.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.utils.import_hooks import register_post_import_hook

from frm_mlflow.errors import TrackingError
from frm_mlflow.integrations.guard import log_guarded
from frm_mlflow.integrations.log_frm import say
from frm_mlflow.integrations.settings import FrmSettings
from frm_mlflow.sweep.beside import FrmResult
from frm_mlflow.tracking import attach as tracking_attach
from frm_mlflow.tracking import server

Wrapper = Callable[..., Any]

_settings: FrmSettings | None = None
_done: weakref.WeakKeyDictionary[Any, FrmResult | None] = weakref.WeakKeyDictionary()
"""Result of each torch model that was benchmarked (None: the benchmark failed)."""
_done_files: dict[str, FrmResult | None] = {}
"""The same for ONNX models, which are data, keyed by their content."""


@dataclass
class Logged:
    """The run and the LoggedModel that a model was logged to while it was in training."""

    run_id: str | None = None
    model_id: str | None = None


_in_training: dict[Any, Logged] = {}
"""Models that are being trained by a trainer."""


def autolog(*, disable: bool = False, **settings: Any) -> None:
    """Benchmark each model once, when its training ends or when it is logged, and log the result to its own run.

    It supports PyTorch Lightning (`Trainer.fit`), Hugging Face (`Trainer.train`), and any
    `mlflow.pytorch.log_model` and `mlflow.onnx.log_model`. What training computes is not changed.
    One line on stderr reports FRM and the duration of the benchmark, or why there is none and what to do. In the latter
    case the run is tagged with the reason (`frm.reason`). The training continues in either case.

    Parameters
    ----------
    disable
        Turn autologging off.
    settings
        The settings of `log_frm`; `measure` defaults to the protocol that takes seconds.
    """
    global _settings
    if disable:
        _settings = None
        return
    _settings = FrmSettings.in_training(**settings)
    for module in ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer"):
        register_post_import_hook(_wrap_lightning, module, overwrite=True)
    register_post_import_hook(_wrap_transformers, "transformers.trainer", overwrite=True)
    for module in ("mlflow.pytorch", "mlflow.onnx"):
        register_post_import_hook(_wrap_log_model, module, overwrite=True)


def _wrap_lightning(module: Any) -> None:
    _wrap(module.Trainer, "fit", _fit)


def _wrap_transformers(module: Any) -> None:
    _wrap(module.Trainer, "train", _train)


def _wrap_log_model(module: Any) -> None:
    _wrap(module, "log_model", _log_model)


def _wrap(owner: Any, name: str, wrapper: Wrapper) -> None:
    """Replace a function by one that passes it to `wrapper` while autologging is on."""
    original = getattr(owner, name)
    if hasattr(original, "_frm_original"):
        return

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _settings is None:
            return original(*args, **kwargs)
        return wrapper(original, _settings, *args, **kwargs)

    wrapped._frm_original = original  # type: ignore[attr-defined]
    setattr(owner, name, wrapped)


def _fit(original: Wrapper, settings: FrmSettings, trainer: Any, *args: Any, **kwargs: Any) -> Any:
    """Run Lightning's `Trainer.fit`, then the benchmark."""
    from frm_mlflow.integrations.watch import FirstCall

    model = inspect.signature(original).bind(trainer, *args, **kwargs).arguments["model"]
    watch = FirstCall(model, samples=settings.batch_size)
    with _training(model) as logged:
        try:
            result = original(trainer, *args, **kwargs)
        finally:
            watch.stop()
    if trainer.is_global_zero and not trainer.interrupted:
        example = getattr(model, "example_input_array", None)
        subject, example = (watch.model, watch.call) if example is None else (model, example)
        if subject is not model:  # a network that training calls instead of the module
            settings = replace(settings, name=settings.name or type(model).__name__)
        with run_of_training(trainer, seen=logged.run_id or watch.run_id) as (run_id, uri):
            _once(subject, example, settings, run_id=run_id, model_id=logged.model_id, tracking_uri=uri)
    return result


def _train(original: Wrapper, settings: FrmSettings, trainer: Any, *args: Any, **kwargs: Any) -> Any:
    """Run Hugging Face's `Trainer.train`, then the benchmark."""
    from frm_mlflow.integrations.watch import LABELS, FirstCall

    watch = FirstCall(trainer.model, ignored=LABELS | set(trainer.label_names or ()), samples=settings.batch_size)
    with _training(trainer.model) as logged:
        try:
            result = original(trainer, *args, **kwargs)
        finally:
            watch.stop()
    if trainer.is_world_process_zero():
        with run_or_new(logged.run_id or watch.run_id) as run_id:
            _once(trainer.model, watch.call, settings, run_id=run_id, model_id=logged.model_id)
    return result


def _log_model(original: Wrapper, settings: FrmSettings, *args: Any, **kwargs: Any) -> Any:
    """Run `mlflow.pytorch.log_model` or `mlflow.onnx.log_model`, then the benchmark.

    A model that is still in training is benchmarked when training ends: MLflow's own autologging logs it before that,
    and without an example.
    """
    info = original(*args, **kwargs)
    arguments = inspect.signature(original).bind(*args, **kwargs).arguments
    model = next(iter(arguments.values()))
    key, _ = _place(model)
    if key in _in_training:
        _in_training[key] = Logged(info.run_id, info.model_id)
        return info
    with run_or_new(info.run_id) as run_id:
        named = replace(settings, name=settings.name or arguments.get("name"))
        _once(model, arguments.get("input_example"), named, run_id=run_id, model_id=info.model_id)
    return info


@contextmanager
def _training(model: Any) -> Iterator[Logged]:
    """Mark a model as in training; after the block, the yielded object has the run that it was logged to meanwhile."""
    key, _ = _place(model)
    _in_training[key] = Logged()
    logged = Logged()
    try:
        yield logged
    finally:
        last = _in_training.pop(key)
        logged.run_id, logged.model_id = last.run_id, last.model_id


def _once(
    model: Any,
    example: Any,
    settings: FrmSettings,
    *,
    run_id: str | None,
    model_id: str | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Benchmark a model unless it already was; in that case link its benchmark to its new LoggedModel.

    If there is no run, one is started for the benchmark, and deleted if the benchmark fails.
    """
    key, done = _place(model)
    if key not in done:
        with run_or_new(run_id) as target:
            result = log_guarded(model, example, settings, run_id=target, model_id=model_id, tracking_uri=tracking_uri)
        if result is None and run_id is None:
            MlflowClient(tracking_uri=tracking_uri).delete_run(target)
        if result is not None or example is not None:
            done[key] = result
        return
    earlier = done[key]
    if earlier is None or model_id is None or earlier.run_id is None or earlier.model_id == model_id:
        return
    try:
        tracking_attach.link(server.connect(tracking_uri), earlier.run_id, model_id, earlier.record)
    except TrackingError as error:
        say(f"the model was benchmarked, but its FRM is not linked to it: {error}")


def _place(model: Any) -> tuple[Any, Any]:
    """Return the key that identifies a model, and the mapping that stores its result."""
    if hasattr(model, "SerializeToString"):
        return hashlib.sha256(model.SerializeToString()).hexdigest(), _done_files
    from frm_mlflow.export.capture import unwrap

    return unwrap(model), _done


@contextmanager
def run_of_training(trainer: Any, *, seen: str | None = None) -> Iterator[tuple[str | None, str | None]]:
    """Yield the run of a Lightning trainer and its server: the `MLFlowLogger`'s, the one that was active, or None."""
    for candidate in trainer.loggers:
        if type(candidate).__name__ == "MLFlowLogger" and candidate.run_id is not None:
            yield candidate.run_id, candidate._tracking_uri
            return
    active = mlflow.active_run()
    yield (active.info.run_id if active is not None else seen), None


@contextmanager
def run_or_new(seen: str | None) -> Iterator[str]:
    """Yield the run that was seen in training, the active one, or a new one just for the benchmark."""
    active = mlflow.active_run()
    run_id = seen or (active.info.run_id if active is not None else None)
    if run_id is not None:
        yield run_id
        return
    with mlflow.start_run() as run:
        yield run.info.run_id
