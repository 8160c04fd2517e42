"""Converts the files of a logged MLflow model to what can be measured: a program (`.pt2`) or an `.onnx` file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import TensorSpec

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import ConfigError, MissingExtraError
from frm_mlflow.tracking import untrusted
from frm_mlflow.tracking.untrusted import UntrustedModelError

FLAVORS = ("onnx", "pytorch", "transformers")
"""Flavors that can be measured, in order of preference for a model with several."""


def measurable(
    path: Path, scratch: Path, *, name: str, batch_size: int = 1, example: Any = None, trust: bool = False
) -> ModelConfig:
    """Return the model in `path` as settings that can be exported and measured.

    Parameters
    ----------
    path
        Directory with an `MLmodel` file.
    scratch
        Directory for a program that has to be captured; it must exist as long as the settings are used.
    example
        Arguments of one call. Defaults to the model's input example, or else to values generated from its signature.
    trust
        Whether MLflow may load the model, which can run code of whoever logged it. Without it, the files are opened
        here: an ONNX graph, an archive of torch.export, or safetensors of a transformers class.

    Raises
    ------
    UntrustedModelError
        Without trust, if the model could run its own code.
    ConfigError
        If the flavor is not supported, or the model cannot be loaded.
    ExportError
        If the module cannot be captured.
    """
    model = _read(path, name)
    if not trust:
        untrusted.check_folder(path, model.flavors, name=name)
    flavor = next((flavor for flavor in FLAVORS if flavor in model.flavors), None)
    if flavor is None:
        raise ConfigError(
            f"'{name}' has the flavors {', '.join(model.flavors)}; {', '.join(FLAVORS)} can be measured "
            "(scikit-learn and others convert to ONNX: mlflow.onnx.log_model)"
        )
    logged = _Logged(path, model, name, batch_size, example, trust)
    try:
        return {"onnx": _onnx, "pytorch": _pytorch, "transformers": _transformers}[flavor](logged, scratch)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "bench", f"the flavor {flavor} of '{name}'") from error
    except MlflowException as error:
        raise ConfigError(f"'{name}' cannot be loaded: {error.message}") from error


def check_file(file: Path) -> None:
    """Refuse an `.onnx` or `.pt2` file that could run its own code.

    Raises
    ------
    UntrustedModelError
        If it could; the message names what was found.
    """
    if file.suffix == ".pt2":
        untrusted.check_program(file, name=file.name)
    else:
        untrusted.check_onnx(file, _graph(file, file.name), folder=file.parent, name=file.name)


def _read(path: Path, name: str) -> Model:
    """Return the content of the `MLmodel` file, which is data."""
    try:
        model = Model.load(str(path))
    except Exception as error:  # MLflow may raise anything on a file that anyone may have written
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"'{name}' has no readable MLmodel file: {type(error).__name__}: {reason}") from error
    if not isinstance(model.flavors, dict) or not all(isinstance(flavor, dict) for flavor in model.flavors.values()):
        raise ConfigError(f"'{name}' has no readable MLmodel file: its flavors are not settings by name")
    return model


@dataclass(frozen=True)
class _Logged:
    path: Path
    model: Model
    name: str
    batch_size: int
    example: Any
    trust: bool

    def file(self, flavor: str, key: str) -> Path:
        """Return the file or folder in the model's folder that a flavor refers to."""
        relative = str(self.model.flavors[flavor].get(key) or "")
        return untrusted.inside(self.path, relative, name=self.name)

    def example_or_none(self) -> Any:
        """Return the same as `input`, or None if the model was logged with neither example nor a closed signature."""
        signature = self.model.signature
        if self.example is None and self.model.saved_input_example_info is None:
            specs = [] if signature is None or signature.inputs is None else signature.inputs.inputs
            if not specs or any(-1 in getattr(spec, "shape", ())[1:] for spec in specs):
                return None
        return self.input()

    def input(self) -> Any:
        """Return the given example, the model's own, or one that fits its signature."""
        if self.example is not None:
            return self.example
        if self.model.saved_input_example_info is not None:
            return self._example()
        if self.model.signature is not None and self.model.signature.inputs is not None:
            return from_signature(self.model.signature, batch_size=self.batch_size, name=self.name)
        raise ConfigError(
            f"'{self.name}' was logged without input example and without signature: log it again with input_example="
        )

    def _example(self) -> Any:
        """Return the example that was logged with the model."""
        info = self.model.saved_input_example_info or {}
        for key in ("artifact_path", "serving_input_path"):
            if info.get(key):
                untrusted.inside(self.path, str(info[key]), name=self.name)
        try:
            return _arrays(self.model.load_input_example(str(self.path)))
        except Exception as error:  # MLflow may raise anything on a file that anyone may have written
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"the input example of '{self.name}' cannot be read: {reason}") from error


def _onnx(logged: _Logged, scratch: Path) -> ModelConfig:
    file = logged.file("onnx", "data")
    if not logged.trust:
        untrusted.check_onnx(file, _graph(file, logged.name), folder=logged.path, name=logged.name)
    from frm_mlflow.export.onnx_file import has_open_axes, saved_inputs

    example = logged.example_or_none()
    if example is None and has_open_axes(file, batch_size=logged.batch_size):
        raise ConfigError(
            f"'{logged.name}' leaves axes of its inputs open and was logged without an example: log it again with "
            "input_example=, whose shapes are then measured"
        )
    inputs = {} if example is None else saved_inputs(file, example, scratch)
    return ModelConfig(name=logged.name, source="onnx", path=str(file), inputs=inputs)


def _graph(file: Path, name: str) -> Any:
    """Return an ONNX model without its external data."""
    import onnx

    try:
        return onnx.load(file, load_external_data=False)
    except Exception as error:  # onnx passes on protobuf's own errors, and the file may be anything
        raise ConfigError(f"'{name}' is not an ONNX model: {' '.join(str(error).split())[:300]}") from error


def _pytorch(logged: _Logged, scratch: Path) -> ModelConfig:
    folder = logged.file("pytorch", "model_data")
    program = folder / "model.pt2"
    if program.is_file() and not logged.trust:
        untrusted.check_program(program, name=logged.name)
    if program.is_file():
        return ModelConfig(name=logged.name, source="pt2", path=str(program))
    if not logged.trust:
        raise UntrustedModelError(logged.name, "it is a pickle, which is a program of whoever logged it")
    import mlflow.pytorch

    return _captured(mlflow.pytorch.load_model(str(logged.path)), logged, logged.input(), scratch)


def _transformers(logged: _Logged, scratch: Path) -> ModelConfig:
    if logged.trust:
        import mlflow.transformers

        components = mlflow.transformers.load_model(str(logged.path), return_type="components")
    else:
        components = _from_safetensors(logged)
    return _captured(components["model"], logged, logged.example or _tensors_for(components), scratch)


def _from_safetensors(logged: _Logged) -> dict[str, Any]:
    """Return a model of one of transformers' own classes with its weights, and its tokenizer if it has a fast one."""
    import transformers

    if "model_binary" not in logged.model.flavors["transformers"]:
        raise UntrustedModelError(logged.name, "its weights were not logged: they would be downloaded from elsewhere")
    folder = logged.file("transformers", "model_binary")
    untrusted.check_weights(folder, name=logged.name)
    names = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    kind = getattr(transformers, str(names[0]), None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise UntrustedModelError(logged.name, f"'{names[0]}' is not a class of transformers")
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    tokenizer = logged.path / "components" / "tokenizer" / "tokenizer.json"
    if not tokenizer.is_file():
        return {"model": model}
    fast: Any = transformers.PreTrainedTokenizerFast
    return {"model": model, "tokenizer": fast(tokenizer_file=str(tokenizer))}


def _captured(module: Any, logged: _Logged, example: Any, scratch: Path) -> ModelConfig:
    from frm_mlflow.export.capture import capture

    captured = capture(module, example, scratch, batch_size=logged.batch_size)
    return ModelConfig(name=logged.name, source="pt2", path=str(captured.path))


def _tensors_for(components: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs the pipeline would give the model: an image of the configured size, or a tokenised sentence."""
    model = components["model"]
    if model.main_input_name == "pixel_values":
        side = getattr(model.config, "image_size", 224)
        height, width = side if isinstance(side, list | tuple) else (side, side)
        return {"pixel_values": np.zeros((1, getattr(model.config, "num_channels", 3), height, width), np.float32)}
    if "tokenizer" in components:
        encoded = components["tokenizer"]("How fast is this network here?", return_tensors="pt")
        return {key: value for key, value in encoded.items() if key in signature(model.forward).parameters}
    return dict(model.dummy_inputs)


def from_signature(signature: ModelSignature, *, batch_size: int, name: str) -> Any:
    """Return one call's input that fits a signature: normally distributed numbers, or zeros for integer inputs.

    Raises
    ------
    ConfigError
        If an axis other than the first is free.
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
    """Return an input example as arrays instead of a table, one row per sample."""
    return example.to_numpy(np.float32) if hasattr(example, "to_numpy") else example
