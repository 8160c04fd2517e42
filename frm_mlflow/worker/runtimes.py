"""The inference runtimes. Everything that depends on the runtime's name reads this registry.

A new runtime needs an entry here, its session in `sessions/`, its exporter in `frm_mlflow/export/` and its settings in
`conf/runtime/`. Reading the registry imports no runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What one runtime needs and supports."""

    session: str
    """Module and class of its session, relative to `sessions`."""
    exporter: str
    """Module in `frm_mlflow.export` that converts networks for it."""
    distribution: str
    """Distribution that runs its exported models."""
    extra: str = "bench"
    """Extra of this package that installs all of its packages."""
    packages: Mapping[str, str] = field(default_factory=lambda: {"torch": "torch"})
    """Importable packages that an export needs, each with its distribution."""
    cpu: tuple[str, ...] = ()
    """Precisions with kernels on a CPU; empty if it does not run there."""
    cuda: tuple[str, ...] = ()
    """Precisions with kernels on an NVIDIA GPU; empty if it does not run there."""
    exported_model: str = ""
    """Runtime whose exported model it shares."""
    preflight: str = ""
    """Runtime whose tiny network it shares."""
    vendor: str = ""
    """Maker of the only chips that it runs on."""
    framework: str = ""
    """Framework that the paper's section 4.3 counts it to."""


_TORCH = {"torch": "torch"}
_ONNX = _TORCH | {"onnx": "onnx", "onnxruntime": "onnxruntime"}
_FLOATS = ("fp32", "fp16", "bf16")
_CUDA_FLOATS = ("fp32", "tf32", "fp16", "bf16")

RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        "torch": Runtime(
            session="torch_eager:TorchSession",
            exporter="to_torch",
            distribution="torch",
            cpu=_FLOATS,
            cuda=_CUDA_FLOATS,
            framework="PyTorch",
        ),
        "torch_compile": Runtime(
            session="torch_compiled:TorchCompileSession",
            exporter="to_torch",
            distribution="torch",
            cpu=_FLOATS,
            cuda=_CUDA_FLOATS,
            exported_model="torch",
            framework="PyTorch",
        ),
        "torch_export": Runtime(
            session="torch_export:TorchExportSession",
            exporter="to_torch_export",
            distribution="torch",
            cpu=("fp32",),
            cuda=("fp32", "tf32"),
            preflight="torch",
            framework="PyTorch",
        ),
        "onnxruntime": Runtime(
            session="onnx_runtime:OnnxRuntimeSession",
            exporter="to_onnx",
            distribution="onnxruntime",
            packages=_ONNX,
            cpu=("fp32", "int8"),
            cuda=("fp32", "tf32", "fp16"),
            framework="ONNX",
        ),
        "tensorrt": Runtime(
            session="onnx_runtime:TensorRtSession",
            exporter="to_onnx",
            distribution="tensorrt",
            extra="tensorrt",
            packages=_ONNX | {"tensorrt": "tensorrt"},
            cuda=("fp32", "tf32", "fp16", "bf16", "int8"),
            vendor="NVIDIA",
        ),
        "torchscript": Runtime(
            session="torch_script:TorchScriptSession",
            exporter="to_torchscript",
            distribution="torch",
            cpu=_FLOATS,
            cuda=_CUDA_FLOATS,
            preflight="torch",
            framework="PyTorch",
        ),
        "openvino": Runtime(
            session="open_vino:OpenVinoSession",
            exporter="to_openvino",
            distribution="openvino",
            extra="openvino",
            packages=_TORCH | {"openvino": "openvino", "nncf": "nncf"},
            cpu=("fp32", "bf16", "int8"),
        ),
        "litert": Runtime(
            session="lite_rt:LiteRtSession",
            exporter="to_litert",
            distribution="ai-edge-litert",
            extra="litert",
            packages=_TORCH
            | {
                "litert_torch": "litert-torch",
                "ai_edge_litert": "ai-edge-litert",
                "ai_edge_quantizer": "ai-edge-quantizer",
            },
            cpu=("fp32", "int8"),
            framework="TFLite",
        ),
        "executorch": Runtime(
            session="execu_torch:ExecuTorchSession",
            exporter="to_executorch",
            distribution="executorch",
            extra="executorch",
            packages=_TORCH | {"executorch": "executorch", "torchao": "torchao"},
            cpu=("fp32", "int8"),
            framework="PyTorch",
        ),
    }
)

DEFAULT = "onnxruntime"
"""Runtime that `runtime=auto` uses on a CPU."""
AUTO_ON_CUDA = (DEFAULT, "torch")
"""Runtimes that `runtime=auto` tries on a GPU, in this order."""
VENDORS: Mapping[str, str] = MappingProxyType(
    {"qnn": "Qualcomm", "precompiled_qnn": "Qualcomm", "coreml": "Apple"}
    | {name: runtime.vendor for name, runtime in RUNTIMES.items() if runtime.vendor}
)
"""Makers of the only chips that a runtime runs on, by prefix of its name, including runtimes of imported benchmarks."""
OTHER_BUILDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"onnxruntime": ("onnxruntime-gpu",), "tensorrt": ("tensorrt-cu13", "tensorrt-cu12")}
)
"""Distributions that provide the same package under another name."""


def extra_of(package: str) -> str:
    """Return the extra that installs an importable package; `bench` for a package of no runtime.

    >>> extra_of("ai_edge_litert"), extra_of("torch")
    ('litert', 'bench')
    """
    return next((runtime.extra for runtime in RUNTIMES.values() if package in runtime.packages), "bench")


def runtimes_of(framework: str) -> tuple[str, ...]:
    """Return the runtimes of one of the paper's frameworks.

    >>> runtimes_of("ONNX")
    ('onnxruntime',)
    """
    return tuple(name for name, runtime in RUNTIMES.items() if runtime.framework == framework)


def distributions() -> tuple[str, ...]:
    """Return all distributions that exports and sessions use, in the registry's order, with their other builds."""
    names = [name for runtime in RUNTIMES.values() for name in runtime.packages.values()]
    return tuple(dict.fromkeys(build for name in names for build in (name, *OTHER_BUILDS.get(name, ()))))


def installed_version(distribution: str) -> str:
    """Return a distribution's version, "" if not installed; `onnxruntime` may be its GPU build under another name."""
    for name in (distribution, *OTHER_BUILDS.get(distribution, ())):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""
