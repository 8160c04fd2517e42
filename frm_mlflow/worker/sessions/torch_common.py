"""Shared code of the torch-based sessions: the recipe, precision, CUDA events."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..manifest import ExportedModel
from .base import Array, SessionError, Target, as_float32

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Maps `ExportedModel.loader["dtype"]` to the dtype of the module and of its floating-point inputs."""


class CudaEvents:
    """Two CUDA events on the current stream of a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._stop = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Record the first event."""
        self._start.record(torch.cuda.current_stream(self._device))

    def stop(self) -> None:
        """Record the second event."""
        self._stop.record(torch.cuda.current_stream(self._device))

    def elapsed_ns(self) -> int:
        """Return the time between the events (resolution about 0.5 microseconds)."""
        return int(self._start.elapsed_time(self._stop) * 1e6)


def torch_device(target: Target) -> torch.device:
    """Set threads and TF32 and return the target's torch device; raise for CUDA if torch cannot use it."""
    torch.set_num_threads(target.threads)
    if target.kind != "cuda":
        return torch.device("cpu")
    if torch.version.cuda is None:
        raise SessionError(
            f"torch {torch.__version__} was built without CUDA: run `make setup` on this machine, or "
            "`pip install --force-reinstall torch torchvision` for a build with CUDA",
            kind="provider",
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        raise SessionError(
            f"torch {torch.__version__} cannot use CUDA: {_first_line(error)}", kind="provider"
        ) from error
    device = torch.device("cuda", target.index)
    if target.index >= torch.cuda.device_count():
        raise SessionError(
            f"torch sees {torch.cuda.device_count()} CUDA devices and none with index {target.index}", kind="provider"
        )
    torch.cuda.set_device(device)
    set_tf32(allowed=target.allows_tf32)
    return device


def set_tf32(*, allowed: bool) -> None:
    """Set whether fp32 matrix products and convolutions use TF32 or IEEE fp32.

    torch's defaults differ between the two operations. torch.compile also reads these older settings, and rejects a
    mixture with the newer `fp32_precision`.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def tf32_is_allowed() -> bool:
    """Return whether matrix products or convolutions may be computed in TF32."""
    return bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def factory_of(exported_model: ExportedModel) -> Callable[..., torch.nn.Module]:
    """Import the recipe's `package.module:factory`."""
    module_name, _, factory_name = exported_model.loader["target"].partition(":")
    factory: Callable[..., torch.nn.Module] = getattr(import_module(module_name), factory_name)
    return factory


def unpickle_something() -> None:
    """Save and load one tensor in memory, since the first call imports the unpickler."""
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(1)}, file)
    file.seek(0)
    torch.load(file, weights_only=True)


def build(directory: Path, exported_model: ExportedModel) -> torch.nn.Module:
    """Build the recipe's module and load the saved state; only tensors are unpickled.

    A live module of `log_frm` was pickled as a whole by the process that started the benchmark.
    """
    if "target" not in exported_model.loader:
        import cloudpickle

        module: torch.nn.Module = cloudpickle.loads((directory / exported_model.file).read_bytes())["module"]
    else:
        module = factory_of(exported_model)(**exported_model.loader.get("kwargs", {}))
        state = torch.load(directory / exported_model.file, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    for parameter in module.parameters():  # a scripted module has no `requires_grad_`
        parameter.requires_grad = False
    return module.eval()


def arguments(form: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """Return an argument built from its form in `ExportedModel.loader["call"]`: tensors in lists, tuples and dicts."""
    ((kind, content),) = form.items()
    if kind == "tensor":
        return tensors[content]
    if kind in ("list", "tuple"):
        items = [arguments(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {key: arguments(item, tensors) for key, item in content}
    return content


def flat(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors in a module's outputs: a tensor, sequence, mapping or dataclass; other values are skipped."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    elif is_dataclass(outputs):
        outputs = [getattr(outputs, one.name) for one in fields(outputs)]
    return [tensor for part in outputs for tensor in flat(part)] if isinstance(outputs, list | tuple) else []


def to_numpy(outputs: Any) -> list[Array]:
    """Return a module's outputs as arrays, with floats as float32 and complex numbers as pairs."""
    return [_array(tensor) for tensor in flat(outputs)]


def _array(tensor: torch.Tensor) -> Array:
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    tensor = (tensor.dequantize() if tensor.is_quantized else tensor).detach().cpu()
    return as_float32((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def torch_versions() -> dict[str, str]:
    """Return the versions of torch and of the CUDA that it was built with."""
    versions = {"torch": str(torch.__version__)}
    if torch.version.cuda:
        versions["cuda"] = str(torch.version.cuda)
        if cudnn := torch.backends.cudnn.version():  # type: ignore[no-untyped-call]
            versions["cudnn"] = str(cudnn)
    return versions
