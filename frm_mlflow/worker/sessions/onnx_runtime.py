"""ONNX Runtime, with the execution provider that was asked for or none at all."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ..manifest import Artefact
from .base import Array, Session, SessionError, Target, as_float32, as_specified, tensors_in

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
"""`runtime.options.provider` → ONNX Runtime's own name; an own name is taken as it is."""

_ON_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")

_WARM_MODEL = base64.b64decode(
    "CAg61gEKIgoBeAoBdxIBYyIEQ29udioRCgRwYWRzQAFAAUABQAGgAQcKDAoBYxIBciIEUmVsdQoZCgFyEgFwIhFHbG9iYWxBdmVy"
    "YWdlUG9vbAoPCgFwEgFmIgdGbGF0dGVuCg8KAWYKAW0SAXkiBEdlbW0SAWdaGwoBeBIWChQIARIQCgIIAQoCCBAKAgggCgIIIFob"
    "CgF3EhYKFAgBEhAKAggQCgIIEAoCCAMKAggDWhMKAW0SDgoMCAESCAoCCBAKAggQYhMKAXkSDgoMCAESCAoCCAEKAggQQgQKABAN"
)
"""Conv, Relu, GlobalAveragePool, Flatten, Gemm on x[1,16,32,32], w[16,16,3,3], m[16,16] (opset 13)."""


class OnnxRuntimeSession(Session):
    """An `InferenceSession` with pinned threads and bound inputs and outputs."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        wanted = str(target.options.get("provider") or target.kind)
        self._provider = PROVIDERS.get(wanted, wanted)
        available = ort.get_available_providers()
        if self._provider not in available:
            raise SessionError(
                f"onnxruntime {ort.__version__} was built without {self._provider} (it has {', '.join(available)}): "
                "install the build that has it (onnxruntime-gpu for CUDA and TensorRT), or choose another device",
                kind="provider",
            )
        ort.set_default_logger_severity(3)
        self._free_dimensions: dict[str, int] = {}

    def warm(self, artefact: Artefact) -> None:  # noqa: ARG002
        """Run a network of five nodes."""
        session = self._open(_WARM_MODEL)
        shapes = {"x": (1, 16, 32, 32), "w": (16, 16, 3, 3), "m": (16, 16)}
        session.run(None, {name: np.ones(shape, np.float32) for name, shape in shapes.items()})

    def load(self, directory: Path, artefact: Artefact) -> None:
        """Open the `.onnx` file; external data beside it is found by its relative path."""
        self._artefact = artefact
        self._free_dimensions = artefact.loader.get("free_dimensions", {})
        self._session = self._open(str(directory / artefact.file))
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._is_bound = all(node.type.startswith("tensor(") and node.type != "tensor(string)" for node in nodes)

    def prepare(self, inputs: Sequence[Array]) -> None:
        """Bind inputs and outputs to the device's memory, so that a call copies nothing; not text and sequences."""
        if not self._is_bound:
            arrays = as_specified(inputs, self._artefact)
            names = [node.name for node in self._session.get_inputs()]
            texts = [array.astype(object) if array.dtype.kind == "U" else array for array in arrays]
            self._feeds = dict(zip(names, texts, strict=True))
            return
        place = ("cuda", self.target.index) if self._provider in _ON_CUDA else ("cpu", 0)
        self._binding = self._session.io_binding()
        arrays = as_specified(inputs, self._artefact)
        self._values = [ort.OrtValue.ortvalue_from_numpy(array, *place) for array in arrays]
        for node, value in zip(self._session.get_inputs(), self._values, strict=True):
            self._binding.bind_ortvalue_input(node.name, value)
        for node in self._session.get_outputs():
            self._binding.bind_output(node.name, *place)

    def run(self) -> None:
        """One call; ONNX Runtime waits for the device before it returns."""
        if self._is_bound:
            self._session.run_with_iobinding(self._binding)
        else:
            self._results = self._session.run(None, self._feeds)

    def outputs(self) -> list[Array]:
        """Return the last call's outputs, copied to the host."""
        results = self._binding.copy_outputs_to_cpu() if self._is_bound else self._results
        return [as_float32(tensor) for result in results for tensor in tensors_in(result)]

    def versions(self) -> dict[str, str]:
        """ONNX Runtime's version."""
        return {"onnxruntime": ort.__version__}

    def facts(self) -> dict[str, Any]:
        """Active providers and thread options."""
        options = self._session.get_session_options()
        return {
            "providers": self._session.get_providers(),
            "threads": options.intra_op_num_threads,
            "inter_op_threads": options.inter_op_num_threads,
            "spinning": bool(self.target.options.get("spinning", False)),
        }

    def _open(self, model: str | bytes) -> ort.InferenceSession:
        session = ort.InferenceSession(model, self._options(), providers=[(self._provider, self._provider_options())])
        if self._provider not in session.get_providers():
            raise SessionError(
                f"onnxruntime did not activate {self._provider} (active: {', '.join(session.get_providers())}); "
                "its libraries are missing or do not match: see the last output",
                kind="provider",
            )
        return session

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.target.threads
        options.inter_op_num_threads = 1
        spinning = "1" if self.target.options.get("spinning", False) else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        for name, size in self._free_dimensions.items():
            options.add_free_dimension_override_by_name(name, size)
        for key, value in dict(self.target.options.get("session_config", {})).items():
            options.add_session_config_entry(key, str(value))
        return options

    def _provider_options(self) -> dict[str, str]:
        own = {key: str(value) for key, value in dict(self.target.options.get("provider_options", {})).items()}
        return {"device_id": str(self.target.index)} | own if self._provider in _ON_CUDA else own
