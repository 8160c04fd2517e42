"""Input and output types of the exporters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from frm_mlflow.config import PrecisionConfig
from frm_mlflow.worker.manifest import TensorSpec
from frm_mlflow.zoo.build import BuiltModel
from frm_mlflow.zoo.flops import ComputeCost

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to export, with its reference inputs and outputs and its computed cost."""

    built: BuiltModel
    inputs: Arrays
    outputs: Arrays
    cost: ComputeCost
    precision: PrecisionConfig
    runtime: str = ""
    call: dict[str, Any] | None = None
    """Structure of the call as plain data (`flat.described`), if it is more than a flat list of tensors."""
    pickled: Path | None = None
    """File of a live module that was pickled."""

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """Names, shapes and types of the reference's outputs."""
        return tuple(TensorSpec(f"output_{i}", o.shape, str(o.dtype)) for i, o in enumerate(self.outputs))


def as_reference(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a reference output: floats as float32, integers unchanged, complex numbers as pairs."""
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()
    return array


def tensor_dtype(tensor: torch.Tensor) -> str:
    """Return NumPy's name for a tensor's type."""
    return str(tensor.dtype).removeprefix("torch.")


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A file in a runtime's format.

    `nodes` counts all operators of its graph, `compute_nodes` its convolutions and matrix products,
    and `float_nodes` those that stayed in floating point. With `has_loops`, one product may run many times.
    """

    file: Path
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: int
    compute_nodes: int
    float_nodes: int
    has_loops: bool = False
    loader: dict[str, Any] = field(default_factory=dict)


def in_torch(subject: Subject, file: Path, *, loader: dict[str, Any] | None = None) -> Converted:
    """Return a file that torch itself runs: the network's original operators, all in floating point."""
    quantised = subject.cost.quantised_ops
    precision = "int8" if quantised and 2 * quantised >= subject.cost.compute_ops else subject.precision.name
    if 0 < 2 * quantised < subject.cost.compute_ops:
        precision = "mixed"
    return Converted(
        file=file,
        precision=precision,
        inputs=subject.built.inputs,
        outputs=subject.output_specs,
        nodes=subject.cost.ops,
        compute_nodes=subject.cost.compute_ops,
        float_nodes=subject.cost.compute_ops - quantised,
        has_loops=True,  # it is the network itself
        loader=loader or {},
    )
