"""Exported models of small networks, made without zoo or export, with outputs computed by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from frm_mlflow.worker.manifest import REFERENCE_NAME, ExportedModel, TensorSpec

SIDE = 32


class SmallNetwork(nn.Module):
    """A convolution to `width` channels and one back to three channels, `depth` times: activation sizes are known."""

    def __init__(self, width: int = 8, depth: int = 1) -> None:
        super().__init__()
        self.wide = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for _ in range(depth))
        self.narrow = nn.ModuleList(nn.Conv2d(width, 3, 1) for _ in range(depth))
        self.head = nn.Linear(3, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            x = narrow(torch.relu(wide(x)))
        return self.head(x.mean((2, 3)))


def small_network(runtime: str, folder: Path, *, side: int = SIDE, batch: int = 1, **size: int) -> Path:
    """Write the exported model of a `SmallNetwork` for a runtime and return its directory."""
    torch.manual_seed(0)
    module = SmallNetwork(**size).eval()
    x = torch.randn(batch, 3, side, side)
    with torch.inference_mode():
        y = module(x)
    folder.mkdir(parents=True)
    np.savez(folder / REFERENCE_NAME, input_0=x.numpy(), output_0=y.numpy())
    file, loader = WRITERS[runtime](module, x, folder, size)
    spec_in = (TensorSpec("input", tuple(x.shape), "float32"),)
    spec_out = (TensorSpec("output", tuple(y.shape), "float32"),)
    ExportedModel(f"small-{size}", runtime, "fp32", file, spec_in, spec_out, loader).write(folder)
    return folder


def _torch(module: nn.Module, x: torch.Tensor, folder: Path, size: dict[str, int]) -> tuple[str, dict[str, Any]]:
    torch.save(module.state_dict(), folder / "weights.pt")
    target = f"{SmallNetwork.__module__}:{SmallNetwork.__name__}"
    return "weights.pt", {"target": target, "kwargs": size, "dtype": "float32"}


def _torchscript(module: nn.Module, x: torch.Tensor, folder: Path, size: dict[str, int]) -> tuple[str, dict[str, Any]]:
    torch.jit.save(torch.jit.freeze(torch.jit.trace(module, x)), folder / "model.pt")
    return "model.pt", {"dtype": "float32"}


def _onnx(module: nn.Module, x: torch.Tensor, folder: Path, size: dict[str, int]) -> tuple[str, dict[str, Any]]:
    names = {"input_names": ["input"], "output_names": ["output"]}
    torch.onnx.export(module, (x,), str(folder / "model.onnx"), dynamo=False, opset_version=17, **names)
    return "model.onnx", {}


def _openvino(module: nn.Module, x: torch.Tensor, folder: Path, size: dict[str, int]) -> tuple[str, dict[str, Any]]:
    import openvino as ov

    _onnx(module, x, folder, size)
    ov.save_model(ov.convert_model(folder / "model.onnx"), folder / "model.xml", compress_to_fp16=False)
    return "model.xml", {"inference_precision": "f32"}


def _litert(module: nn.Module, x: torch.Tensor, folder: Path, size: dict[str, int]) -> tuple[str, dict[str, Any]]:
    import litert_torch

    litert_torch.convert(module, (x,)).export(str(folder / "model.tflite"))
    return "model.tflite", {}


def _executorch(module: nn.Module, x: torch.Tensor, folder: Path, size: dict[str, int]) -> tuple[str, dict[str, Any]]:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(torch.export.export(module, (x,)), partitioner=[XnnpackPartitioner()])
    (folder / "model.pte").write_bytes(program.to_executorch().buffer)
    return "model.pte", {}


WRITERS = {
    "torch": _torch,
    "torch_compile": _torch,
    "torchscript": _torchscript,
    "onnxruntime": _onnx,
    "openvino": _openvino,
    "litert": _litert,
    "executorch": _executorch,
}
FAST = ("torch", "onnxruntime", "openvino")
