"""Export to TorchScript: the traced and frozen network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from frm_mlflow.export.subject import Converted, Subject
from frm_mlflow.export.to_torch import DTYPES

_PRODUCTS = {
    **dict.fromkeys(("_convolution", "conv1d", "conv2d", "conv3d", "conv_transpose2d"), 1),
    **dict.fromkeys(("linear", "addmm", "mm", "matmul", "bmm", "baddbmm", "einsum"), 1),
    "scaled_dot_product_attention": 2,
}
"""Number of matrix products and convolutions inside one TorchScript operator."""
_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
"""Operators that contain any number of layers."""


def convert(subject: Subject, directory: Path) -> Converted:
    """Trace the network on the reference input, freeze it and save it."""
    file = directory / "model.pt"
    dtype = DTYPES[subject.precision.name]
    module = subject.built.module.to(dtype)
    tensors = [torch.from_numpy(array) for array in subject.inputs]
    example = tuple(tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors)
    with torch.no_grad():
        is_scripted = isinstance(module, torch.jit.ScriptModule)
        traced = module if is_scripted else torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.freeze(traced)
    torch.jit.save(frozen, str(file))
    operators = _operators(frozen.inlined_graph)
    compute = sum(count * _PRODUCTS.get(name, 0) for name, count in operators.items())
    return Converted(
        file=file,
        precision=subject.precision.name,
        inputs=subject.built.inputs,
        outputs=subject.output_specs,
        nodes=sum(operators.values()),
        compute_nodes=compute,
        float_nodes=compute,
        has_loops=bool(_RECURRENT & set(operators)) or is_scripted,
        loader={"dtype": str(dtype).removeprefix("torch.")},
    )


def _operators(graph: Any) -> Counter[str]:
    names = [node.kind().split("::") for node in graph.nodes()]
    return Counter(name.rstrip("_") if name.endswith("_") else name for scope, name in names if scope == "aten")
