"""Eager PyTorch: a recipe, a state dict and `inference_mode`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from ..manifest import ExportedModel
from .base import Array, Placement, Session, Target, as_specified
from .torch_common import (
    DTYPES,
    CudaEvents,
    arguments,
    build,
    factory_of,
    tf32_is_allowed,
    to_numpy,
    torch_device,
    torch_versions,
    unpickle_something,
)

_MIB = 1 / 2**20
_DTYPE_NAMES = {"fp16": "float16", "bf16": "bfloat16"}


class TorchSession(Session):
    """Runs the module as ordinary Python code, on CPU or CUDA."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._device = torch_device(target)
        self._call: Any = None
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self._outputs: Any = None
        self._dtype = torch.float32
        if self._device.type == "cuda":
            self.events = CudaEvents(self._device)

    def warm(self, exported_model: ExportedModel) -> None:
        """Import everything that loading needs, then start the runtime."""
        self.warm_loading(exported_model)
        self.start()

    def start(self) -> None:
        """Run one small convolution and matrix product in the target's precision."""
        dtype = DTYPES.get(_DTYPE_NAMES.get(self.target.precision, "float32"))
        with torch.inference_mode():
            x = torch.randn(1, 16, 32, 32, device=self._device, dtype=dtype)
            w = torch.randn(16, 16, 3, 3, device=self._device, dtype=dtype)
            v = torch.randn(14400, 8, device=self._device, dtype=dtype)
            self._outputs = torch.relu(torch.nn.functional.conv2d(x, w)).flatten(1) @ v
        self.synchronise()

    def warm_loading(self, exported_model: ExportedModel) -> None:
        """Import the recipe's library and unpickle a tensor, so that this code does not count as the model's memory."""
        if "target" in exported_model.loader:
            factory_of(exported_model)
        unpickle_something()

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Build the recipe's module, load its weights, move it to the device and cast it."""
        self._exported_model = exported_model
        self._dtype = DTYPES[exported_model.loader.get("dtype", "float32")]
        module = build(directory, exported_model).to(device=self._device, dtype=self._dtype)
        self._call = self.compiled(module)

    def compiled(self, module: torch.nn.Module) -> Any:
        """Return the callable to run: here the module itself."""
        return module

    def prepare(self, inputs: Sequence[Array]) -> None:
        """Copy the inputs to the device, with floats in the module's dtype."""
        tensors = [torch.from_numpy(a.copy()) for a in as_specified(inputs, self._exported_model)]
        placed = [t.to(self._device, dtype=self._dtype if t.is_floating_point() else None) for t in tensors]
        form = self._exported_model.loader.get("call")
        self._args = tuple(arguments(arg, placed) for arg in form["args"]) if form else tuple(placed)
        self._kwargs = {name: arguments(arg, placed) for name, arg in form["kwargs"].items()} if form else {}

    def run(self) -> None:
        """Run one forward pass."""
        with torch.inference_mode():
            self._outputs = self._call(*self._args, **self._kwargs)

    def outputs(self) -> list[Array]:
        """Return the last pass's outputs."""
        return to_numpy(self._outputs)

    def synchronise(self) -> None:
        """Wait for the CUDA stream."""
        if self.events is not None:
            torch.cuda.synchronize(self._device)

    def versions(self) -> dict[str, str]:
        """Return the versions of torch and of its CUDA and cuDNN."""
        return torch_versions()

    def placement(self) -> Placement:
        """Return the devices that hold the weights and the outputs; several different ones count as mixed."""
        if self._call is not None:
            self.run()
            self.synchronise()
        devices = {t.device for t in (*_tensors(self._call), *_flat(self._outputs))}
        kinds = sorted({device.type for device in devices})
        units = {"cuda": "gpu", "cpu": "cpu"}
        kind = kinds[0] if len(kinds) == 1 else "other"
        return Placement(kind, units.get(kind, "mixed"), ", ".join(sorted(map(str, devices))))

    def uses_tf32(self) -> bool | None:
        """Return whether torch may compute fp32 in TF32; on a CPU there is no such setting."""
        return tf32_is_allowed() if self._device.type == "cuda" and self._dtype == torch.float32 else None

    def facts(self) -> dict[str, Any]:
        """Return device and threads as torch reports them, and on CUDA the settings that affect kernel selection."""
        facts: dict[str, Any] = {"providers": [str(self._device)], "threads": torch.get_num_threads()}
        if self._device.type == "cuda":
            facts |= {"cudnn_benchmark": torch.backends.cudnn.benchmark, "cuda_graph": False}
        return facts

    def reset_device_peak(self) -> None:
        """Reset the peak of CUDA's caching allocator."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def device_now_mib(self) -> float | None:
        """Return the memory allocated by CUDA's caching allocator."""
        if self._device.type != "cuda":
            return None
        return torch.cuda.memory_allocated(self._device) * _MIB

    def device_peak_mib(self) -> float | None:
        """Return the peak of CUDA's caching allocator."""
        if self._device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self._device) * _MIB


def _tensors(module: Any) -> list[torch.Tensor]:
    """Return a loaded module's parameters and buffers; empty for a callable that is not a module."""
    return [*module.parameters(), *module.buffers()] if isinstance(module, torch.nn.Module) else []


def _flat(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors in arbitrarily nested outputs."""
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
