"""OpenVINO, in one stream with pinned threads; the precision actually used is read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13

from ..manifest import ExportedModel
from .base import Array, Placement, Session, SessionError, Target, as_float32, as_specified

_NOT_COMPUTED = ("Input", "Output", "Const", "Reorder", "Reshape")
"""Layer types of the executed graph that perform no computation in their own precision."""


_UNITS = {"CPU": "cpu", "GPU": "gpu", "NPU": "npu"}


class OpenVinoSession(Session):
    """A compiled model with one infer request."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        if target.kind != "cpu":
            raise SessionError(
                "openvino has no CUDA device: choose device=cpu, or runtime.options.device=GPU or NPU for Intel's own",
                kind="provider",
            )
        self._core = ov.Core()
        self._device = str(target.options.get("device") or "CPU")
        if self._device not in self._core.available_devices:
            raise SessionError(
                f"openvino finds no {self._device} (it has {', '.join(self._core.available_devices)})", kind="provider"
            )

    def start(self) -> None:
        """Compile and run one convolution."""
        x = opset13.parameter([1, 16, 32, 32], np.float32)
        weight = opset13.constant(np.ones((16, 16, 3, 3), np.float32))
        convolved = opset13.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1])
        model = ov.Model([opset13.relu(convolved)], [x], "warm")
        self._model = self._compile(model, "f32")
        self._model(np.ones((1, 16, 32, 32), np.float32))

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Compile the `.xml` for the device in the exported model's precision."""
        self._exported_model = exported_model
        precision = str(exported_model.loader.get("inference_precision", "f32"))
        self._model = self._compile(str(directory / exported_model.file), precision)
        self._request = self._model.create_infer_request()
        used = self._precision()
        if used != precision:
            raise SessionError(
                f"openvino was asked for {precision} and runs {used} on {self._device}: choose another precision",
                kind="unsupported",
            )

    def prepare(self, inputs: Sequence[Array]) -> None:
        """Set the inputs so that the request reads the arrays in place."""
        self._arrays = as_specified(inputs, self._exported_model)
        for index, array in enumerate(self._arrays):
            self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))

    def run(self) -> None:
        """Run one synchronous inference."""
        self._request.infer()

    def outputs(self) -> list[Array]:
        """Return copies of the request's output tensors."""
        count = len(self._model.outputs)
        return [as_float32(np.array(self._request.get_output_tensor(k).data)) for k in range(count)]

    def versions(self) -> dict[str, str]:
        """Return OpenVINO's version with its build."""
        return {"openvino": ov.get_version().partition("-")[0], "openvino_build": ov.get_version()}

    def placement(self) -> Placement:
        """Return the devices on which OpenVINO executes the compiled model."""
        devices = [str(name) for name in self._model.get_property("EXECUTION_DEVICES")]
        units = {_UNITS.get(name.strip("()").partition(".")[0], "mixed") for name in devices}
        unit = units.pop() if len(units) == 1 else "mixed"
        return Placement("cpu" if unit == "cpu" else "other", unit, ", ".join(devices))

    def facts(self) -> dict[str, Any]:
        """Return devices, threads, and the precisions of the executed graph's layers."""
        layers = Counter(
            str(node.get_rt_info()["runtimePrecision"].astype(str))
            for node in self._model.get_runtime_model().get_ordered_ops()
            if str(node.get_rt_info()["layerType"].astype(str)) not in _NOT_COMPUTED
        )
        return {
            "providers": list(self._model.get_property("EXECUTION_DEVICES")),
            "threads": self._model.get_property("INFERENCE_NUM_THREADS"),
            "inference_precision": self._precision(),
            "layer_precisions": dict(layers),
        }

    def _precision(self) -> str:
        return str(self._model.get_property("INFERENCE_PRECISION_HINT").to_string())

    def _compile(self, model: str | ov.Model, precision: str) -> ov.CompiledModel:
        config = {
            "INFERENCE_NUM_THREADS": self.target.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
        }
        return self._core.compile_model(model, self._device, config if self._device == "CPU" else {})
