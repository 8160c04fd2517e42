"""LiteRT (TensorFlow Lite's successor) with its XNNPACK delegate."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ..manifest import ExportedModel
from .base import Array, Placement, Session, SessionError, Target, as_float32


class LiteRtSession(Session):
    """An interpreter whose inputs are set once; invoking it does not change them."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        if target.kind != "cpu":
            raise SessionError("litert runs on the CPU here: choose device=cpu", kind="provider")

    def start(self) -> None:
        """Do nothing: the import has already started the interpreter."""

    def placement(self) -> Placement:
        """Return XNNPACK or the built-in kernels: both run on the CPU, and no other delegate is loaded."""
        is_loaded = hasattr(self, "_interpreter")
        return Placement("cpu", "cpu", self.facts()["providers"][0] if is_loaded else "builtin")

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Open the `.tflite` file and plan its memory; XNNPACK packs the weights here."""
        self._interpreter = Interpreter(
            model_path=str(directory / exported_model.file), num_threads=self.target.threads
        )
        self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def prepare(self, inputs: Sequence[Array]) -> None:
        """Set the input tensors, quantised if the model takes integers in place of floats."""
        for details, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(details["index"], quantised(array, details))

    def run(self) -> None:
        """Invoke the interpreter once."""
        self._interpreter.invoke()

    def outputs(self) -> list[Array]:
        """Return copies of the output tensors, as real numbers."""
        return [dequantised(self._interpreter.get_tensor(d["index"]), d) for d in self._outputs]

    def versions(self) -> dict[str, str]:
        """Return LiteRT's version."""
        return {"litert": metadata.version("ai-edge-litert")}

    def facts(self) -> dict[str, Any]:
        """Return what executes the nodes: XNNPACK or the built-in kernels."""
        names = [str(op["op_name"]) for op in self._interpreter._get_ops_details()]
        delegated = names.count("DELEGATE")
        return {
            "providers": ["XNNPACK"] if delegated else ["builtin"],
            "threads": self.target.threads,
            "delegate_nodes": delegated,
            "nodes": len(names),
        }


def quantised(array: Array, details: dict[str, Any]) -> Array:
    """Return the array in the tensor's dtype; floats become integers by its scale and zero point."""
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if dtype.kind != "i" or array.dtype.kind != "f" or not scale:
        return np.ascontiguousarray(array, dtype=dtype)
    limits = np.iinfo(dtype)
    steps = np.round(array / scale) + zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max), dtype=dtype)


def dequantised(array: Array, details: dict[str, Any]) -> Array:
    """Return a tensor as float32 if it represents real numbers."""
    scale, zero_point = details["quantization"]
    if array.dtype.kind != "i" or not scale:
        return as_float32(array)
    return np.asarray((array.astype(np.float32) - zero_point) * scale, dtype=np.float32)
