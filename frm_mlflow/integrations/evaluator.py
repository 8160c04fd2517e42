"""`mlflow.models.evaluate(..., model_type="frm", evaluators="frm")`: MLflow's evaluator plugin."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow.models import Model
from mlflow.models.evaluation import EvaluationResult
from mlflow.models.evaluation.artifacts import JsonEvaluationArtifact
from mlflow.models.evaluation.base import ModelEvaluator
from mlflow.pyfunc import PyFuncModel

from frm_mlflow.errors import ConfigError
from frm_mlflow.integrations.settings import FrmSettings

MODEL_TYPE = "frm"
SETTINGS = frozenset((*(field.name for field in fields(FrmSettings)), "trust"))
"""Keys of `evaluator_config`: those of `log_frm`, and the consent to load a model that can run its own code."""


class FrmEvaluator(ModelEvaluator):
    """Benchmarks a logged model on this machine.

    It runs if `model_type="frm"`, or if its own settings are given (so that it can
    run with the default evaluator: `evaluators=["default", "frm"], evaluator_config={"frm": {...}}`).
    """

    @classmethod
    def can_evaluate(cls, *, model_type: str | None, evaluator_config: dict[str, Any] | None, **_: Any) -> bool:
        """Whether it was requested: by the model type, or by its own settings."""
        config = evaluator_config or {}
        return model_type == MODEL_TYPE or (bool(config) and set(config) <= SETTINGS)

    def evaluate(
        self,
        *,
        model_type: str | None,  # noqa: ARG002 - MLflow's signature
        dataset: Any,
        run_id: str,
        evaluator_config: dict[str, Any] | None,
        model: Any = None,
        model_id: str | None = None,
        **_: Any,
    ) -> EvaluationResult:
        """Benchmark `model` together with the baseline and log it to the evaluation's run.

        Raises
        ------
        ConfigError
            If a setting does not exist, or the model has no files (a function, an endpoint).
        FrmError
            If the benchmark fails.
        """
        from frm_mlflow.sweep.beside import benchmark_beside, check_device
        from frm_mlflow.sweep.compose import zoo_model
        from frm_mlflow.tracking import attach, models, server
        from frm_mlflow.tracking.flavors import measurable

        options = _checked(evaluator_config)
        trust = bool(options.pop("trust", False))
        settings = FrmSettings(**options)
        config = settings.config()
        client = server.connect(config.tracking.uri)
        stored = models.find_model(client, _uri_of(model))
        check_device(config)
        with tempfile.TemporaryDirectory(prefix="frm-") as scratch:
            path = stored.download(Path(scratch), client=client)
            example = _example(model, dataset)
            subject = measurable(
                path,
                Path(scratch),
                name=settings.name or stored.name,
                batch_size=settings.batch_size,
                example=example,
                trust=trust,
            )
            done = benchmark_beside(subject, zoo_model(config.baseline), config, scratch=Path(scratch))
        metrics = {settings.prefix + key: value for key, value in done.record.metrics.items()}
        attach.attach(
            client,
            run_id,
            done.record,
            prefix=settings.prefix,
            files=done.files,
            metrics_follow=model_id is not None,  # MLflow logs what is returned here itself
        )
        return EvaluationResult(metrics, _artifacts(client, run_id, settings.prefix, metrics, done.record.all_tags()))


class _Unloaded:
    """Placeholder for a model whose files are measured; none of the model's code is run."""

    def predict(self, *_: Any, **__: Any) -> Any:
        raise ConfigError(f"model_type='{MODEL_TYPE}' measures a model's files and does not load the model")


def unloaded(model_uri: str) -> Any:
    """Return MLflow's handle of a logged model with its metadata, which is data, and without its code."""
    metadata = Model.load(model_uri)
    handle: Any = PyFuncModel(model_meta=metadata, model_impl=_Unloaded(), model_id=metadata.model_id)
    handle.frm_uri = model_uri  # the run named in a model file may be another model's
    return handle


def _load_only_if_trusted(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function that `mlflow.models.evaluate` loads a model with, for calls with our model type.

    MLflow loads the model, and so runs its code, before it calls any evaluator. It imports this module before that,
    but passes no settings, so they are read from the frame of its call.
    """

    @functools.wraps(original)
    def load(model_uri: str, *args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1)
        arguments = caller.f_locals if caller.f_code.co_name == "evaluate" else {}
        config = arguments.get("evaluator_config") or {}
        trusted = bool(config.get("trust") or (config.get("frm") or {}).get("trust"))
        if arguments.get("model_type") != MODEL_TYPE or trusted:
            return original(model_uri, *args, **kwargs)
        return unloaded(model_uri)

    load._frm_original = original  # type: ignore[attr-defined]
    return load


_PYFUNC: Any = mlflow.pyfunc  # the function is private to the module and has no type
if not hasattr(_PYFUNC._load_model_or_server, "_frm_original"):
    _PYFUNC._load_model_or_server = _load_only_if_trusted(_PYFUNC._load_model_or_server)


def _checked(config: dict[str, Any] | None) -> dict[str, Any]:
    options = dict(config or {})
    unknown = sorted(set(options) - SETTINGS)
    if unknown:
        raise ConfigError(
            f"evaluator_config: unknown {', '.join(unknown)}; the evaluator 'frm' takes {', '.join(sorted(SETTINGS))}"
        )
    return options


def _uri_of(model: Any) -> str:
    """Return the URI of the files that a pyfunc model was loaded from."""
    if uri := getattr(model, "frm_uri", None):
        return str(uri)
    metadata = getattr(model, "metadata", None)
    if metadata is not None and getattr(metadata, "model_id", None):
        return f"models:/{metadata.model_id}"
    if metadata is not None and metadata.run_id:
        return f"runs:/{metadata.run_id}/{metadata.artifact_path}"
    raise ConfigError("the evaluator 'frm' measures a model's files: pass a model URI, not a function or an endpoint")


def _example(model: Any, dataset: Any) -> Any:
    """Return the data's first row in the shape of the model's input, or None if the model has its own example."""
    if model.metadata.saved_input_example_info is not None:
        return None
    rows = np.asarray(dataset.features_data)[:1].astype(np.float32)
    inputs = model.metadata.get_input_schema()
    if inputs is not None and inputs.is_tensor_spec() and len(inputs.inputs) == 1:
        return rows.reshape(1, *[int(size) for size in inputs.inputs[0].shape[1:]])
    return rows


def _artifacts(
    client: mlflow.MlflowClient, run_id: str, prefix: str, metrics: dict[str, float], tags: dict[str, str]
) -> dict[str, JsonEvaluationArtifact]:
    content = {"metrics": metrics, "tags": tags}
    name = f"{prefix.rstrip('/')}/frm.json" if prefix else "frm.json"
    client.log_dict(run_id, content, name)
    uri = f"{client.get_run(run_id).info.artifact_uri}/{name}"
    return {f"{prefix}frm": JsonEvaluationArtifact(uri=uri, content=content)}
