"""Export to ExecuTorch (PyTorch Mobile's successor): a program whose operators are delegated to XNNPACK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower

from frm_mlflow.export.calibration import calibration_batches
from frm_mlflow.export.subject import Converted, Subject

_PRODUCTS = ("convolution", "linear", "addmm", "mm", "bmm", "baddbmm", "matmul")
_MOVES = ("view", "view_copy", "permute", "permute_copy", "unsqueeze_copy", "squeeze_copy", "expand_copy", "clone")


def convert(subject: Subject, directory: Path) -> Converted:
    """Export the network, lower it to XNNPACK and write the program; int8 uses XNNPACK's quantiser."""
    file = directory / "model.pte"
    example = tuple(torch.from_numpy(array) for array in subject.inputs)
    int8 = subject.precision.name == "int8"
    module = _quantised(subject, example) if int8 else subject.built.module
    # Without strict tracing, the quantiser misses residual additions whose two operands share a module.
    program = torch.export.export(module, example, strict=int8)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    operators = [node for node in _operators(lowered.exported_program().graph_module) if _name(node) not in _MOVES]
    products = [node for node in operators if _name(node) in _PRODUCTS]
    with file.open("wb") as stream:
        lowered.to_executorch().write_to_file(stream)
    return Converted(
        file=file,
        precision=subject.precision.name,
        inputs=subject.built.inputs,
        outputs=subject.output_specs,
        nodes=len(operators),
        compute_nodes=len(products),
        float_nodes=sum(not _is_quantised(node) for node in products),
    )


def _quantised(subject: Subject, example: tuple[torch.Tensor, ...]) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    graph = torch.export.export(subject.built.module, example, strict=True).module()
    prepared = prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        for batch in calibration_batches(subject):
            prepared(torch.from_numpy(batch))
    return convert_pt2e(prepared)


def _operators(graph_module: Any) -> Iterator[Any]:
    """Yield the operators of the program and of every part that was lowered to a backend."""
    yield from (node for node in graph_module.graph.nodes if node.op == "call_function" and _name(node))
    for name, module in graph_module.named_children():
        if name.startswith("lowered_module"):
            yield from _operators(module.original_module.graph_module)


def _name(node: Any) -> str:
    """Return an operator's plain name (`convolution`); empty for other nodes."""
    parts = str(getattr(node.target, "__name__", "")).split(".")
    return parts[1] if len(parts) > 1 else ""


def _is_quantised(node: Any) -> bool:
    """Whether the operator's data comes from a dequantiser, through any number of data-movement operators."""
    source = node.args[0] if not _name(node).startswith("addmm") else node.args[1]
    while getattr(source, "args", None) and _name(source) in _MOVES:
        source = source.args[0]
    return "dequantize" in _name(source) if hasattr(source, "target") else False
