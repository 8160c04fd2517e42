"""The precisions that each runtime supports on each compute unit, and the packages needed to export to it.

Looking this up does not import any runtime.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from frm_mlflow.errors import ConfigError, MissingExtraError


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSupport:
    """The exports that a runtime supports.

    `packages` maps importable names to the distributions that provide them, all part of `extra`.
    `cpu` and `cuda` are the precisions for which the runtime has kernels; empty means that it
    does not run there. `exported_model` names the runtime whose exported model it shares.
    """

    exporter: str
    extra: str
    packages: Mapping[str, str]
    cpu: tuple[str, ...]
    cuda: tuple[str, ...] = ()
    exported_model: str | None = None


_TORCH = {"torch": "torch"}
_FLOATS = ("fp32", "fp16", "bf16")
_CUDA_FLOATS = ("fp32", "tf32", "fp16", "bf16")
_ONNX = _TORCH | {"onnx": "onnx", "onnxruntime": "onnxruntime"}

OTHER_BUILDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"onnxruntime": ("onnxruntime-gpu",), "tensorrt": ("tensorrt-cu13", "tensorrt-cu12")}
)
"""Distributions that provide the same package under another name."""
RUNTIMES: Mapping[str, RuntimeSupport] = MappingProxyType(
    {
        "torch": RuntimeSupport(exporter="to_torch", extra="bench", packages=_TORCH, cpu=_FLOATS, cuda=_CUDA_FLOATS),
        "torch_compile": RuntimeSupport(
            exporter="to_torch", extra="bench", packages=_TORCH, cpu=_FLOATS, cuda=_CUDA_FLOATS, exported_model="torch"
        ),
        "torch_export": RuntimeSupport(
            exporter="to_torch_export", extra="bench", packages=_TORCH, cpu=("fp32",), cuda=("fp32", "tf32")
        ),
        "onnxruntime": RuntimeSupport(
            exporter="to_onnx",
            extra="bench",
            packages=_ONNX,
            cpu=("fp32", "int8"),
            cuda=("fp32", "tf32", "fp16"),
        ),
        "tensorrt": RuntimeSupport(
            exporter="to_onnx",
            extra="tensorrt",
            packages=_ONNX | {"tensorrt": "tensorrt"},
            cpu=(),
            cuda=("fp32", "tf32", "fp16", "bf16", "int8"),
        ),
        "torchscript": RuntimeSupport(
            exporter="to_torchscript", extra="bench", packages=_TORCH, cpu=_FLOATS, cuda=_CUDA_FLOATS
        ),
        "openvino": RuntimeSupport(
            exporter="to_openvino",
            extra="openvino",
            packages=_TORCH | {"openvino": "openvino", "nncf": "nncf"},
            cpu=("fp32", "bf16", "int8"),
        ),
        "litert": RuntimeSupport(
            exporter="to_litert",
            extra="litert",
            packages=_TORCH
            | {
                "litert_torch": "litert-torch",
                "ai_edge_litert": "ai-edge-litert",
                "ai_edge_quantizer": "ai-edge-quantizer",
            },
            cpu=("fp32", "int8"),
        ),
        "executorch": RuntimeSupport(
            exporter="to_executorch",
            extra="executorch",
            packages=_TORCH | {"executorch": "executorch", "torchao": "torchao"},
            cpu=("fp32", "int8"),
        ),
    }
)


def runtimes() -> tuple[str, ...]:
    """Return the names of all runtimes that have an exporter."""
    return tuple(RUNTIMES)


def support_of(runtime: str) -> RuntimeSupport:
    """Return the support entry of a runtime.

    Raises
    ------
    ConfigError
        For an unknown runtime; the message lists the supported ones.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"unknown runtime '{runtime}'; valid: {', '.join(RUNTIMES)}")
    return RUNTIMES[runtime]


def precisions(runtime: str, *, compute_unit: str = "cpu") -> tuple[str, ...]:
    """Return the precisions for which the runtime has kernels on a compute unit (`cpu` or `gpu`)."""
    support = support_of(runtime)
    return support.cpu if compute_unit == "cpu" else support.cuda


def check(runtime: str, precision: str, *, compute_unit: str = "cpu") -> None:
    """Reject a combination that cannot be exported, before anything is built or measured.

    Raises
    ------
    ConfigError
        For an unknown runtime, or a precision for which it has no kernels on the compute unit.
    MissingExtraError
        If the runtime's packages are not installed.
    """
    supported = precisions(runtime, compute_unit=compute_unit)
    if not supported:
        where = [unit for unit in ("cpu", "gpu") if precisions(runtime, compute_unit=unit)]
        raise ConfigError(f"runtime '{runtime}' does not run on compute unit '{compute_unit}', only on {where[0]}")
    if precision not in supported:
        raise ConfigError(
            f"runtime '{runtime}' has no {precision} kernels on compute unit '{compute_unit}'; "
            f"supported: {', '.join(supported)}"
        )
    support = RUNTIMES[runtime]
    for package in support.packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, support.extra, f"runtime '{runtime}'")


def versions(runtime: str, source: str) -> dict[str, str]:
    """Return the versions of the libraries that affect an export: the runtime, torch and the network's source."""
    wanted = set(support_of(runtime).packages.values()) | {"torch"}
    if source in ("torchvision", "timm"):
        wanted.add(source)
    return {name: installed_version(name) for name in sorted(wanted)}


def installed_version(distribution: str) -> str:
    """Return a distribution's version, "" if not installed; `onnxruntime` may be its GPU build under another name."""
    for name in (distribution, *OTHER_BUILDS.get(distribution, ())):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
