"""The network to measure (`conf/model/`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from frm_mlflow.config.inputs import input_specs
from frm_mlflow.errors import ConfigError

MODEL_SOURCES = ("torchvision", "timm", "target", "onnx", "pt2", "live")
"""`live` is a module of the calling process, which `log_frm` pickles for its workers."""
FILE_SOURCES = {"onnx": ".onnx", "pt2": ".pt2", "live": ".pkl"}
"""Sources that read a user's file, given by `model.path`."""


@dataclass(frozen=True)
class ModelConfig:
    """Network to measure: a name in the zoo, a library's name, a user's factory or an `.onnx` file."""

    name: str
    source: str = "torchvision"
    """torchvision, timm, target (a user's factory), onnx or pt2 (files)."""
    architecture: str | None = None
    """The library's name for the network, if it differs from `name`; the zoo fills it in for its models."""
    target: str | None = None
    """`package.module:factory` of a user's module (source=target)."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    path: str | None = None
    """The `.onnx` file (source=onnx) or the file written by `torch.export.save` (source=pt2)."""
    input_size: int | None = None
    """Side of the square input in pixels; by default the network's native size."""
    input_shape: list[int] | None = None
    """Shape of one sample without the batch, for models that do not take a square image."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """Inputs by name, each a shape or `{shape, dtype, low, high, file}`: {ids: {shape: [batch, 128], dtype: int64}}."""
    axes: dict[str, int] = field(default_factory=dict)
    """Sizes of named axes: {sequence: 128}."""
    example: str | None = None
    """`package.module:function` that returns the arguments of one call (source=target), for nested inputs."""
    family: str | None = None
    weights: str | None = None
    """random (drawn from `seed` and adjusted to behave like trained ones) or own (the factory's, unchanged).
    The default is own for source=target and files, random otherwise."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weights not in (None, "own", "random"):
            raise ConfigError(f"model.weights must be own or random, got '{self.weights}'")
        if self.source not in MODEL_SOURCES:
            raise ConfigError(f"model.source must be one of {', '.join(MODEL_SOURCES)}, got '{self.source}'")
        if self.source == "target" and not self.target:
            raise ConfigError("model.source=target needs model.target=package.module:factory")
        if self.source in FILE_SOURCES and not self.path:
            raise ConfigError(f"model.source={self.source} needs model.path=FILE{FILE_SOURCES[self.source]}")
        if self.example is not None and self.source != "target":
            raise ConfigError("model.example goes with model.source=target")
        input_specs(self.inputs)
