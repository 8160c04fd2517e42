"""From the files of a logged MLflow model to what can be measured: a program (`.pt2`) or an `.onnx` file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import TensorSpec

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import ConfigError, MissingExtraError

PICKLE_VARIABLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
FLAVORS = ("onnx", "pytorch", "transformers")
"""Flavors that can be measured, in the order in which a model with several is taken."""


def measurable(
    path: Path, scratch: Path, *, name: str, batch_size: int = 1, example: Any = None, trust: bool = False
) -> ModelConfig:
    """Return the model in `path` as settings that can be exported and measured.

    Parameters
    ----------
    path
        Directory with an `MLmodel` file.
    scratch
        Directory for a program that has to be captured; it must live as long as the settings are used.
    example
        Arguments of one call; by default the model's input example, else drawn from its signature.
    trust
        Whether a pickle, which is a program of whoever logged it, may be loaded.

    Raises
    ------
    ConfigError
        For another flavor, or where MLflow refuses to load the model (a pickle, say).
    ExportError
        Where the module cannot be captured.
    """
    model = Model.load(str(path))
    flavor = next((flavor for flavor in FLAVORS if flavor in model.flavors), None)
    if flavor is None:
        raise ConfigError(
            f"'{name}' has the flavors {', '.join(model.flavors)}; {', '.join(FLAVORS)} can be measured "
            "(scikit-learn and others convert to ONNX: mlflow.onnx.log_model)"
        )
    logged = _Logged(path, model, name, batch_size, example)
    try:
        with _pickles(allowed=trust):
            return {"onnx": _onnx, "pytorch": _pytorch, "transformers": _transformers}[flavor](logged, scratch)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "bench", f"the flavor {flavor} of '{name}'") from error
    except MlflowException as error:
        remedy = "" if trust or "pickle" not in error.message else ". If you trust who logged it: trust=true"
        raise ConfigError(f"'{name}' cannot be loaded: {error.message}{remedy}") from error


@contextmanager
def _pickles(*, allowed: bool) -> Iterator[None]:
    """Have MLflow refuse pickles, which it loads by default, unless they are allowed here or by the user's variable."""
    if allowed or PICKLE_VARIABLE in os.environ:
        yield
        return
    os.environ[PICKLE_VARIABLE] = "false"
    try:
        yield
    finally:
        del os.environ[PICKLE_VARIABLE]


@dataclass(frozen=True)
class _Logged:
    path: Path
    model: Model
    name: str
    batch_size: int
    example: Any

    def input(self) -> Any:
        """Return the example that was given, the model's own, or one that fits its signature."""
        if self.example is not None:
            return self.example
        if self.model.saved_input_example_info is not None:
            return _arrays(self.model.load_input_example(str(self.path)))
        if self.model.signature is not None and self.model.signature.inputs is not None:
            return from_signature(self.model.signature, batch_size=self.batch_size, name=self.name)
        raise ConfigError(
            f"'{self.name}' was logged without input example and without signature: log it again with input_example="
        )


def _onnx(logged: _Logged, scratch: Path) -> ModelConfig:  # noqa: ARG001 - one signature for all flavors
    file = logged.path / logged.model.flavors["onnx"]["data"]
    shape = None
    signature = logged.model.signature
    if signature is not None and signature.inputs is not None:
        shape = [int(size) for size in np.shape(from_signature(signature, batch_size=1, name=logged.name))[1:]] or None
    return ModelConfig(name=logged.name, source="onnx", path=str(file), input_shape=shape)


def _pytorch(logged: _Logged, scratch: Path) -> ModelConfig:
    import mlflow.pytorch

    module = mlflow.pytorch.load_model(str(logged.path))  # applies MLflow's rules on pickles first
    program = logged.path / logged.model.flavors["pytorch"]["model_data"] / "model.pt2"
    if program.exists():
        return ModelConfig(name=logged.name, source="pt2", path=str(program))
    return _captured(module, logged, logged.input(), scratch)


def _transformers(logged: _Logged, scratch: Path) -> ModelConfig:
    import mlflow.transformers

    components = mlflow.transformers.load_model(str(logged.path), return_type="components")
    return _captured(components["model"], logged, logged.example or _tensors_for(components), scratch)


def _captured(module: Any, logged: _Logged, example: Any, scratch: Path) -> ModelConfig:
    from frm_mlflow.export.capture import capture

    captured = capture(module, example, scratch, batch_size=logged.batch_size)
    return ModelConfig(name=logged.name, source="pt2", path=str(captured.path))


def _tensors_for(components: dict[str, Any]) -> dict[str, Any]:
    """Return what the pipeline would hand to the model: an image of the configured size, or a tokenised sentence."""
    model = components["model"]
    if model.main_input_name == "pixel_values":
        side = getattr(model.config, "image_size", 224)
        height, width = side if isinstance(side, list | tuple) else (side, side)
        return {"pixel_values": np.zeros((1, getattr(model.config, "num_channels", 3), height, width), np.float32)}
    if "tokenizer" in components:
        return dict(components["tokenizer"]("How fast is this network here?", return_tensors="pt"))
    return dict(model.dummy_inputs)


def from_signature(signature: ModelSignature, *, batch_size: int, name: str) -> Any:
    """Return one call's input that fits a signature: normal numbers, or zeros where it wants integers.

    Raises
    ------
    ConfigError
        Where an axis other than the first is free.
    """
    specs = signature.inputs.inputs
    if not all(isinstance(spec, TensorSpec) for spec in specs):
        return np.zeros((batch_size, len(specs)), np.float32)
    tensors = [_drawn(spec, batch_size, name) for spec in specs]
    if len(specs) == 1 and specs[0].name is None:
        return tensors[0]
    return {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}


def _drawn(spec: TensorSpec, batch_size: int, name: str) -> Any:
    shape = [batch_size if axis == 0 and size == -1 else int(size) for axis, size in enumerate(spec.shape)]
    if -1 in shape:
        raise ConfigError(
            f"'{name}': the signature's shape {tuple(spec.shape)} leaves an axis open: log an input_example"
        )
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape).astype(spec.type) if spec.type.kind == "f" else np.zeros(shape, spec.type)


def _arrays(example: Any) -> Any:
    """Return an input example without its table: one row a sample."""
    return example.to_numpy(np.float32) if hasattr(example, "to_numpy") else example
