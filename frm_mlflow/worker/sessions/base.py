"""The interface of every runtime's session to the worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..manifest import ExportedModel

Array = NDArray[Any]
TF32 = "tf32"


class SessionError(Exception):
    """Raised when a runtime cannot do what was requested; `kind` is sent in the reply.

    kinds: `missing_package`, `provider`, `load`, `unsupported`.
    """

    def __init__(self, message: str, *, kind: str, package: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.package = package


@dataclass(frozen=True)
class Target:
    """Where and how a session runs: `cpu` or `cuda` with its index, threads, and options of the runtime."""

    kind: str = "cpu"
    index: int = 0
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""
    """The requested precision; fp32 and tf32 share an exported model and differ only in the GPU's arithmetic."""

    @property
    def allows_tf32(self) -> bool:
        """Return whether fp32 convolutions and matrix products may be computed in TF32."""
        return self.precision == TF32


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a loaded model actually runs, as reported by its runtime; never what was requested."""

    kind: str
    """cpu, cuda, or other (an accelerator that is not NVIDIA's)."""
    unit: str
    """cpu, gpu, npu or mixed."""
    provider: str
    """The runtime's name for what runs the model: CUDAExecutionProvider, cuda:0, CPU, XNNPACK."""
    nodes: Mapping[str, int] | None = None
    """Number of nodes per compute unit; None if the runtime does not report it."""


class Events(Protocol):
    """Timing of one call by the accelerator's clock."""

    def start(self) -> None:
        """Mark the start on the stream."""

    def stop(self) -> None:
        """Mark the end on the stream."""

    def elapsed_ns(self) -> int:
        """Return the time between the marks; the stream must be synchronised."""


class Session(ABC):
    """One model in one runtime, with prepared inputs.

    The order of calls is: `warm` (the runtime itself, before the memory base is taken), `load`,
    `prepare`, then any number of `run` and `outputs`.
    """

    events: Events | None = None
    once_seconds: float = 0.0
    """Part of the loading time that later launches do not need: filling a compiler's cache."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def start(self) -> None:
        """Run a tiny built-in network of the runtime on the target, as a check that needs no exported model."""

    def warm(self, exported_model: ExportedModel) -> None:  # noqa: ARG002
        """Make the runtime import and allocate everything that does not depend on the weights."""
        self.start()

    @abstractmethod
    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Load the model's files."""

    @abstractmethod
    def prepare(self, inputs: Sequence[Array]) -> None:
        """Convert the inputs to what the model takes and place them where the runtime reads them."""

    @abstractmethod
    def run(self) -> None:
        """Run one call on the prepared inputs; asynchronous if the runtime is."""

    @abstractmethod
    def outputs(self) -> list[Array]:
        """Return the last call's outputs, as float32 if they are floats or quantised."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of the runtime and of the libraries that it is based on."""

    @abstractmethod
    def placement(self) -> Placement:
        """Return where the model runs, or after only `start`, where the tiny network ran; may run the model once."""

    def uses_tf32(self) -> bool | None:
        """Return whether fp32 may be computed in TF32, read back from the runtime; None if it has no such setting."""
        return None

    def facts(self) -> dict[str, Any]:
        """Return what is actually used: providers, threads, precision read back from the runtime."""
        return {}

    def synchronise(self) -> None:  # noqa: B027  (most runtimes have nothing to wait for)
        """Wait until the last call is done; does nothing if `run` is synchronous."""

    def reset_device_peak(self) -> None:  # noqa: B027  (most runtimes keep no such peak)
        """Reset the allocator's peak, on a device that records one."""

    def device_now_mib(self) -> float | None:
        """Return the memory that the runtime's allocator uses on the accelerator now, or None if it is not reported."""
        return None

    def device_peak_mib(self) -> float | None:
        """Return the peak of the runtime's allocator on the accelerator, or None if it records none."""
        return None


def as_specified(inputs: Sequence[Array], exported_model: ExportedModel) -> list[Array]:
    """Return the inputs as contiguous arrays in the dtypes given by the exported model's manifest."""
    pairs = zip(inputs, exported_model.inputs, strict=True)
    return [np.asarray(array, dtype=spec.dtype, order="C") for array, spec in pairs]


def tensors_in(value: Any) -> list[Array]:
    """Return the tensors in one output: itself, those of a sequence, or the values of maps, one row per map."""
    if isinstance(value, np.ndarray):
        return [value.astype(str) if value.dtype == object else value]
    if isinstance(value, dict):
        return [np.asarray([value[key] for key in sorted(value)])]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [np.asarray([[row[key] for key in sorted(row)] for row in value])]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    return [] if value is None else [np.asarray(value)]


def as_float32(array: Array) -> Array:
    """Return half-precision floats as float32, and other types unchanged."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array
