"""What exporters are given and what they give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frm_mlflow.config import PrecisionConfig
from frm_mlflow.worker.manifest import TensorSpec
from frm_mlflow.zoo.build import BuiltModel
from frm_mlflow.zoo.flops import ComputeCost

Arrays = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to export, with its reference inputs and outputs and its counted cost."""

    built: BuiltModel
    inputs: Arrays
    outputs: Arrays
    cost: ComputeCost
    precision: PrecisionConfig
    runtime: str = ""

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The outputs as the reference gives them."""
        return tuple(TensorSpec(f"output_{i}", o.shape, "float32") for i, o in enumerate(self.outputs))


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A file in a runtime's format.

    `nodes` are all operators of its graph, `compute_nodes` its convolutions and matrix products
    and `float_nodes` those of them that stayed in floating point.
    """

    file: Path
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: int
    compute_nodes: int
    float_nodes: int
    loader: dict[str, Any] = field(default_factory=dict)


def in_torch(subject: Subject, file: Path, *, loader: dict[str, Any] | None = None) -> Converted:
    """Return a file that torch itself runs: the network's own operators, all in floating point."""
    return Converted(
        file=file,
        precision=subject.precision.name,
        inputs=subject.built.inputs,
        outputs=subject.output_specs,
        nodes=subject.cost.ops,
        compute_nodes=subject.cost.compute_ops,
        float_nodes=subject.cost.compute_ops,
        loader=loader or {},
    )
