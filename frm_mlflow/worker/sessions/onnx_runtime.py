"""ONNX Runtime with the requested execution provider and no other; TensorRT is one of them."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import build_and_package_info

from ..accelerator import cuda_card
from ..cuda_setup import TF32_OVERRIDE, cuda_problem, how_to_install, library_problem
from ..manifest import ExportedModel
from ..runtimes import installed_version
from .base import Array, Placement, Session, SessionError, Target, as_float32, as_specified, tensors_in

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
"""Maps `runtime.options.provider` to ONNX Runtime's name; a name of ONNX Runtime is used as it is."""

_CPU, _CUDA, _TENSORRT = PROVIDERS["cpu"], PROVIDERS["cuda"], PROVIDERS["tensorrt"]
_ON_CUDA = (_CUDA, _TENSORRT)
_UNITS = {
    _CPU: "cpu",
    _CUDA: "gpu",
    _TENSORRT: "gpu",
    "NvTensorRTRTXExecutionProvider": "gpu",
    "MIGraphXExecutionProvider": "gpu",
    "DmlExecutionProvider": "gpu",
    "XnnpackExecutionProvider": "cpu",
    "DnnlExecutionProvider": "cpu",
    "ACLExecutionProvider": "cpu",
}
"""Compute unit of each provider that has a fixed one; others run where their options choose."""
_TENSORRT_PRECISIONS = ("fp16", "bf16", "int8")
_OPENVINO_UNITS = {"CPU": "cpu", "GPU": "gpu", "NPU": "npu"}
_RECORD_NODES = "session.record_ep_graph_assignment_info"
"""Session option (ONNX Runtime 1.24 or newer) that records which provider runs which node."""

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
        provider = str(target.options.get("provider") or target.kind)
        self._provider = PROVIDERS.get(provider, provider)
        self._values: list[Any] = []
        self._cache = Path()
        available = ort.get_available_providers()
        if self._provider not in available:
            raise SessionError(
                f"onnxruntime {ort.__version__} was built without {self._provider} (it has {', '.join(available)}): "
                f"{_how_to_get(self._provider)}",
                kind="provider",
            )
        ort.set_default_logger_severity(3)
        if self._provider in _ON_CUDA and hasattr(ort, "preload_dlls"):
            ort.preload_dlls(directory="")  # the CUDA libraries installed with torch's wheels, without importing torch
        self._free_dimensions: dict[str, int] = {}

    def start(self) -> None:
        """Run a network of five nodes."""
        self._session = self._open(_WARM_MODEL)
        shapes = {"x": (1, 16, 32, 32), "w": (16, 16, 3, 3), "m": (16, 16)}
        if not self._uses_graph:  # a captured graph needs bound inputs, so `load` runs it
            self._session.run(None, {name: np.ones(shape, np.float32) for name, shape in shapes.items()})

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Open the `.onnx` file; external data next to it is found by its relative path."""
        self._exported_model = exported_model
        self._values = []
        self._free_dimensions = exported_model.loader.get("free_dimensions", {})
        if self._provider == _TENSORRT:
            self._cache = _engine_folder(directory, self.target)
            is_built = any(self._cache.glob("*.engine"))
        started = time.perf_counter()
        self._session = self._open(str(directory / exported_model.file))
        if self._provider == _TENSORRT and not is_built:
            self.once_seconds = time.perf_counter() - started
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._is_bound = all(node.type.startswith("tensor(") and node.type != "tensor(string)" for node in nodes)

    def prepare(self, inputs: Sequence[Array]) -> None:
        """Bind inputs and outputs to device memory, so that a call copies nothing.

        On CUDA the addresses stay the same between calls, as a captured graph requires.
        """
        arrays = as_specified(inputs, self._exported_model)
        if not self._is_bound:  # text, sequences and maps cannot be bound
            names = [node.name for node in self._session.get_inputs()]
            texts = [array.astype(object) if array.dtype.kind == "U" else array for array in arrays]
            self._feeds = dict(zip(names, texts, strict=True))
            return
        if self._values:
            for value, array in zip(self._values, arrays, strict=True):
                value.update_inplace(array)
            return
        place = ("cuda", self.target.index) if self._provider in _ON_CUDA else ("cpu", 0)
        self._binding = self._session.io_binding()
        values = [ort.OrtValue.ortvalue_from_numpy(array, *place) for array in arrays]
        for node, value in zip(self._session.get_inputs(), values, strict=True):
            self._binding.bind_ortvalue_input(node.name, value)
        for node, spec in zip(self._session.get_outputs(), self._exported_model.outputs, strict=True):
            if self._provider in _ON_CUDA:
                output = ort.OrtValue.ortvalue_from_shape_and_type(list(spec.shape), np.dtype(spec.dtype), *place)
                self._binding.bind_ortvalue_output(node.name, output)
            else:
                self._binding.bind_output(node.name, *place)
        self._values = values if self._provider in _ON_CUDA else []
        self._bound = values

    def run(self) -> None:
        """Run one call; ONNX Runtime waits for the device before it returns."""
        if self._is_bound:
            self._session.run_with_iobinding(self._binding)
        else:
            self._results = self._session.run(None, self._feeds)

    def outputs(self) -> list[Array]:
        """Return the last call's outputs, copied to the host."""
        results = self._binding.copy_outputs_to_cpu() if self._is_bound else self._results
        return [as_float32(tensor) for result in results for tensor in tensors_in(result)]

    def versions(self) -> dict[str, str]:
        """Return ONNX Runtime's version and the CUDA version that it was built with."""
        versions = {"onnxruntime": ort.__version__}
        cuda = getattr(build_and_package_info, "cuda_version", "")
        return versions | ({"cuda": str(cuda)} if cuda else {})

    def placement(self) -> Placement:
        """Return the provider that ONNX Runtime activated and how many nodes each unit runs."""
        nodes = self._nodes_by_provider()
        active = self._session.get_providers()
        provider = max(nodes, key=lambda name: nodes[name]) if nodes else active[0]
        units: Counter[str] = Counter()
        for name, count in (nodes or {}).items():
            units[self._unit_of(name)] += count
        kind = "cuda" if provider in _ON_CUDA else "cpu" if self._unit_of(provider) == "cpu" else "other"
        return Placement(kind, self._unit_of(provider), provider, dict(units) if nodes else None)

    def uses_tf32(self) -> bool | None:
        """Return whether the CUDA provider computes fp32 in TF32, according to its options."""
        if self._provider not in _ON_CUDA:
            return None
        allowed = str(self._session.get_provider_options().get(_CUDA, {}).get("use_tf32", "1")) == "1"
        return allowed and os.environ.get(TF32_OVERRIDE) != "0"

    def facts(self) -> dict[str, Any]:
        """Return the active providers with their options, nodes by provider, and thread options."""
        options = self._session.get_session_options()
        facts = {
            "providers": self._session.get_providers(),
            "threads": options.intra_op_num_threads,
            "inter_op_threads": options.inter_op_num_threads,
            "spinning": bool(self.target.options.get("spinning", False)),
            "nodes_by_provider": self._nodes_by_provider(),
        }
        if self._provider in _ON_CUDA:
            facts |= {"provider_options": self._session.get_provider_options(), "cuda_graph": self._uses_graph}
        return facts

    @property
    def _uses_graph(self) -> bool:
        return bool(self.target.options.get("cuda_graph", False)) and self._provider in _ON_CUDA

    def _nodes_by_provider(self) -> dict[str, int] | None:
        """Return how many nodes each provider runs; None if this version does not report it."""
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            return None
        counts: Counter[str] = Counter()
        for part in self._session.get_provider_graph_assignment_info():
            counts[part.ep_name] += len(part.get_nodes())
        return dict(counts) or None

    def _unit_of(self, provider: str) -> str:
        options = {key: str(value) for key, value in self._session.get_provider_options().get(provider, {}).items()}
        if provider == PROVIDERS["openvino"]:
            return _OPENVINO_UNITS.get(options.get("device_type", "").partition(".")[0], "mixed")
        if provider == PROVIDERS["qnn"]:
            return "cpu" if "QnnCpu" in options.get("backend_path", "") else "npu"
        return _UNITS.get(provider, "mixed")

    def _open(self, model: str | bytes) -> ort.InferenceSession:
        try:
            session = ort.InferenceSession(model, self._options(), providers=self._providers())
        except Exception as error:  # ONNX Runtime's errors have no common base class
            if self._provider not in _ON_CUDA:
                raise
            raise SessionError(f"{self._provider} cannot start: {_first_line(error)}", kind="provider") from error
        if self._provider not in session.get_providers():
            reason = f": {why}" if (why := self._why_not_active()) else ""
            raise SessionError(
                f"onnxruntime {ort.__version__} did not activate {self._provider} "
                f"(active: {', '.join(session.get_providers())}){reason}",
                kind="provider",
            )
        return session

    def _why_not_active(self) -> str:
        """Return the provider's error, which ONNX Runtime only logs before it continues with another provider."""
        if self._provider not in _ON_CUDA:
            return ""
        return library_problem(Path(ort.__file__).parent / "capi", self._provider) or cuda_problem()

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.target.threads
        options.inter_op_num_threads = 1
        spinning = "1" if self.target.options.get("spinning", False) else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        options.add_session_config_entry(_RECORD_NODES, "1")
        for name, size in self._free_dimensions.items():
            options.add_free_dimension_override_by_name(name, size)
        for key, value in dict(self.target.options.get("session_config", {})).items():
            options.add_session_config_entry(key, str(value))
        return options

    def _providers(self) -> list[tuple[str, dict[str, str]]]:
        """Return the requested provider; after TensorRT's also CUDA's, for nodes that TensorRT does not support."""
        user_options = {key: str(value) for key, value in dict(self.target.options.get("provider_options", {})).items()}
        if self._provider == _TENSORRT:
            return [(_TENSORRT, self._tensorrt_options() | user_options), (_CUDA, self._cuda_options())]
        return [(self._provider, self._cuda_options() | user_options if self._provider == _CUDA else user_options)]

    def _cuda_options(self) -> dict[str, str]:
        return {
            "device_id": str(self.target.index),
            "use_tf32": "1" if self.target.allows_tf32 else "0",
            "arena_extend_strategy": "kSameAsRequested",  # else the arena's doubling would count as the model's memory
            "enable_cuda_graph": "1" if self._uses_graph and self._provider == _CUDA else "0",
        }

    def _tensorrt_options(self) -> dict[str, str]:
        options = {"device_id": str(self.target.index), "trt_cuda_graph_enable": "1" if self._uses_graph else "0"}
        options |= {f"trt_{name}_enable": "1" for name in _TENSORRT_PRECISIONS if name == self.target.precision}
        if self._cache != Path():
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(self._cache)}
            options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(self._cache)}
        return options


class TensorRtSession(OnnxRuntimeSession):
    """TensorRT's provider in ONNX Runtime, with CUDA's for nodes that TensorRT does not support."""

    def __init__(self, target: Target) -> None:
        super().__init__(replace(target, options={**target.options, "provider": "tensorrt"}))
        _load_tensorrt()

    def versions(self) -> dict[str, str]:
        """Return the versions, TensorRT's first because it is the runtime."""
        return {"tensorrt": installed_version("tensorrt")} | super().versions()


def _load_tensorrt() -> None:
    """Load TensorRT's libraries from its wheel in dependency order, since they are not on the linker's path."""
    spec = util.find_spec("tensorrt_libs")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for pattern in ("libnvinfer.so.*", "libnvinfer_plugin.so.*", "libnvonnxparser.so.*"):
            for path in sorted(Path(folder).glob(pattern)):
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _engine_folder(directory: Path, target: Target) -> Path:
    """Return the engine folder of one exported model on one GPU in one precision.

    An engine depends on the GPU, TensorRT and ONNX Runtime, so each combination has its own folder.
    """
    card = cuda_card(target.index) or {}
    facts = [directory.name, target.precision, card.get("name", ""), ort.__version__, installed_version("tensorrt")]
    name = hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frm-mlflow" / "tensorrt" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _how_to_get(provider: str) -> str:
    if provider in _ON_CUDA:
        return how_to_install("bench-gpu", instead_of="onnxruntime")
    return "install a build of onnxruntime that has it, or choose another runtime.options.provider"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
