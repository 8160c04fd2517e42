"""Checks whether the installed wheels, the driver and the GPU are compatible, and gives the command that fixes them.

Everything is read from files and from the driver. No runtime is imported.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from importlib import metadata, util
from pathlib import Path

from .accelerator import Card
from .nvml import EXCLUSIVE

TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
"""If set to 0, NVIDIA's libraries (cuBLAS, cuDNN, TensorRT) never use TF32 for fp32, whatever a runtime requests."""
AMPERE = (8, 0)
"""Compute capability of the first GPUs whose tensor cores support TF32 and bf16."""
LEAST_FREE_MIB = 1024.0
"""Memory needed by a CUDA context with the workspaces of cuDNN and cuBLAS and a small network."""
GPU_CONSTRAINTS = "constraints-gpu.txt"
"""File that identifies a checkout of this program."""
FIRST_DRIVER = {12: "525", 13: "580"}
"""First Linux driver branch for each CUDA major version, from NVIDIA's table of minor version compatibility."""

_TORCH_CUDA = re.compile(r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]", re.MULTILINE)
_ORT_CUDA = re.compile(r"^cuda_version\s*=\s*['\"]([\d.]+)['\"]", re.MULTILINE)
_PROVIDER_LIBRARIES = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}


def choose_tf32(*, allowed: bool) -> None:
    """Disable TF32 in NVIDIA's libraries in this process, or leave it to the runtime; call before they are loaded."""
    if allowed:
        os.environ.pop(TF32_OVERRIDE, None)
    else:
        os.environ[TF32_OVERRIDE] = "0"


def wheel_cuda(package: str) -> str:
    """Return the CUDA version that the installed `torch` or `onnxruntime` was built with; "" if without CUDA."""
    places = {"torch": ("version.py", _TORCH_CUDA), "onnxruntime": ("capi/build_and_package_info.py", _ORT_CUDA)}
    file, pattern = places[package]
    spec = util.find_spec(package)
    if spec is None or not spec.origin:
        return ""
    path = Path(spec.origin).parent / file
    match = pattern.search(path.read_text()) if path.is_file() else None
    return match.group(1) if match else ""


def how_to_install(extra: str, *, instead_of: str = "") -> str:
    """Return the command that installs an extra here: `make setup` in a checkout, else pip.

    `mlflow run` works in the checkout with an environment of MLflow, which has the wheels for a CPU. It uses the
    checkout's `.venv` instead once `make setup` has created that.
    """
    if any((folder / GPU_CONSTRAINTS).is_file() for folder in (Path(sys.prefix).parent, Path.cwd())):
        return "run `make setup` in this checkout, which installs what the GPU needs"
    remove = f"pip uninstall --yes {instead_of} && " if instead_of else ""
    return f"run `{remove}pip install 'frm-mlflow[{extra}]'`"


def both_wheels() -> str:
    """Return the problem if both distributions of ONNX Runtime are installed over each other, else ""."""
    names = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(names) < 2:
        return ""
    return (
        "onnxruntime and onnxruntime-gpu are both installed, over each other's files: run "
        "`pip uninstall --yes onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu` (without -gpu for a CPU)"
    )


def driver_problem(package: str, card: Card) -> str:
    """Return why the driver is too old for the CUDA of an installed wheel, else "".

    A driver runs every minor version of the CUDA major versions that it supports.
    """
    built = wheel_cuda(package)
    if not built or not card.cuda_version or _major(card.cuda_version) >= _major(built):
        return ""
    first = FIRST_DRIVER.get(_major(built), "newer")
    return (
        f"driver {card.driver} supports CUDA {card.cuda_version}, and this {package} needs CUDA {built}: install "
        f"driver {first} or newer, or {package} for CUDA {_major(card.cuda_version)}"
    )


def card_problem(card: Card, precision: str) -> str:
    """Return why a GPU cannot run in a precision, or at all now, else ""; values missing in NVML are ignored."""
    if precision == "tf32" and card.compute_capability is not None and card.compute_capability < AMPERE:
        major, minor = card.compute_capability
        return (
            f"precision=tf32 needs compute capability 8.0 (Ampere) or newer, and GPU {card.index} '{card.name}' has "
            f"{major}.{minor}: choose precision=fp32, which computes the same there"
        )
    if card.memory_mib is not None and card.used_mib is not None:
        free = card.memory_mib - card.used_mib
        if free < min(LEAST_FREE_MIB, card.memory_mib / 2):
            return (
                f"GPU {card.index} '{card.name}' is full: {free:.0f} of {card.memory_mib:.0f} MiB are free and a "
                f"benchmark needs {LEAST_FREE_MIB:.0f}; end the programs that `nvidia-smi` lists, or choose another "
                "card with device.index"
            )
    if card.compute_mode == EXCLUSIVE:
        return (
            f"GPU {card.index} '{card.name}' is in compute mode EXCLUSIVE_PROCESS, which admits one process, and the "
            f"model's and the baseline's workers share the card: set it with `nvidia-smi -i {card.index} -c DEFAULT`"
        )
    return ""


def majors_problem() -> str:
    """Return the problem if the wheels of torch and ONNX Runtime need different CUDA major versions, else ""."""
    torch, ort = wheel_cuda("torch"), wheel_cuda("onnxruntime")
    if not torch or not ort or _major(torch) == _major(ort):
        return ""
    return (
        f"torch was built with CUDA {torch} and onnxruntime-gpu with CUDA {ort}, so that onnxruntime cannot use "
        f"torch's libraries: {how_to_install('bench-gpu')}"
    )


def library_problem(folder: Path, provider: str) -> str:
    """Return which library is missing if a provider's library in `folder` cannot be loaded, else ""."""
    path = folder / _PROVIDER_LIBRARIES.get(provider, "")
    if not path.is_file():
        return ""
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(path))
    except OSError as error:
        if "libcuda.so" in str(error):  # the driver's library: `cuda_problem` reports it with a fix
            return ""
        extra = "tensorrt" if provider.startswith("Tensorrt") else "bench-gpu"
        return f"{error}; {how_to_install(extra)}"
    return ""


def cuda_problem() -> str:
    """Return CUDA's error if the driver does not start in this process, else ""."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        return f"{error}: install NVIDIA's driver, or start the container with `--gpus all`"
    code = cuda.cuInit(0)
    if code == 0:
        return ""
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    return f"CUDA error {code}: {(text.value or b'unknown').decode()}; run `nvidia-smi`"


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _major(version: str) -> int:
    return int(version.partition(".")[0])
