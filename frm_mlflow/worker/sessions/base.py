"""What every runtime's session offers to the worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..manifest import Artefact

Array = NDArray[Any]
TF32 = "tf32"


class SessionError(Exception):
    """A runtime cannot do what was asked; `kind` is what the reply carries.

    kinds: `missing_package`, `provider`, `load`, `unsupported`.
    """

    def __init__(self, message: str, *, kind: str, package: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.package = package


@dataclass(frozen=True)
class Target:
    """Where and how a session runs: `cpu` or `cuda` with its index, threads, the runtime's own options."""

    kind: str = "cpu"
    index: int = 0
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""
    """The precision that was asked for; fp32 and tf32 share an exported model and differ in what the GPU computes."""

    @property
    def allows_tf32(self) -> bool:
        """Whether fp32 convolutions and matrix products may be computed in TF32."""
        return self.precision == TF32


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a loaded model really runs, as its runtime reports it; never what was asked for."""

    kind: str
    """cpu, cuda, or other (an accelerator that is not NVIDIA's)."""
    unit: str
    """cpu, gpu, npu or mixed."""
    provider: str
    """The runtime's own name for what runs the model: CUDAExecutionProvider, cuda:0, CPU, XNNPACK."""
    nodes: Mapping[str, int] | None = None
    """Nodes by the unit that runs them; None if the runtime does not report it."""


class Events(Protocol):
    """An accelerator's own clock around one call."""

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
    """What loading took that no later launch spends: filling a compiler's cache."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def start(self) -> None:
        """Run a tiny network of the runtime's own on the target: what this proves needs no exported model."""

    def warm(self, artefact: Artefact) -> None:  # noqa: ARG002
        """Make the runtime import and allocate what it needs whatever the weights are."""
        self.start()

    @abstractmethod
    def load(self, directory: Path, artefact: Artefact) -> None:
        """Load the model's files."""

    @abstractmethod
    def prepare(self, inputs: Sequence[Array]) -> None:
        """Place these inputs where the runtime reads them, converted to what the model takes."""

    @abstractmethod
    def run(self) -> None:
        """One call on the prepared inputs; asynchronous where the runtime is."""

    @abstractmethod
    def outputs(self) -> list[Array]:
        """Return the last call's outputs, as float32 where they are floats or quantised."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Version of the runtime and of what it stands on."""

    @abstractmethod
    def placement(self) -> Placement:
        """Return where the model runs, or after `start` alone, where the tiny network ran; may call it once."""

    def uses_tf32(self) -> bool | None:
        """Whether fp32 work may be computed in TF32, read back from the runtime; None if it has no such setting."""
        return None

    def facts(self) -> dict[str, Any]:
        """Return what really runs: providers, threads, precision read back from the runtime."""
        return {}

    def synchronise(self) -> None:  # noqa: B027  (most runtimes have nothing to wait for)
        """Wait until the last call is done; nothing to do where `run` returns when it is."""

    def reset_device_peak(self) -> None:  # noqa: B027  (most runtimes keep no such peak)
        """Forget the allocator's peak so far, on a device that keeps one."""

    def device_now_mib(self) -> float | None:
        """Return what the runtime's allocator uses on the accelerator now, or None if it reports nothing."""
        return None

    def device_peak_mib(self) -> float | None:
        """Peak of the runtime's allocator on the accelerator, or None where it keeps none."""
        return None


def as_specified(inputs: Sequence[Array], artefact: Artefact) -> list[Array]:
    """Return the inputs contiguous and in the dtypes that the artefact's manifest names."""
    pairs = zip(inputs, artefact.inputs, strict=True)
    return [np.asarray(array, dtype=spec.dtype, order="C") for array, spec in pairs]


def tensors_in(value: Any) -> list[Array]:
    """Return the tensors inside one output: itself, those of a sequence, or the values of maps, one row each."""
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
    """Return half-precision floats as float32; leave other types alone."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array
