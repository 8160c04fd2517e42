"""Facts stated in an ONNX graph: its nodes, including those of functions and subgraphs, weights and precision."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, helper

_ATTENTION = ("Attention", "MultiHeadAttention")
_CLASSICAL = ("LinearClassifier", "LinearRegressor")
_RECURRENT = ("LSTM", "GRU", "RNN")
_CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv", "FusedConv")
PRODUCTS = frozenset(
    ("Gemm", "MatMul", "Einsum", "FusedMatMul", "FusedGemm", *_CONVOLUTIONS, *_RECURRENT, *_ATTENTION, *_CLASSICAL)
)
"""ONNX's convolutions, matrix products and recurrent layers in floating point."""
INTEGER_PRODUCTS = frozenset(
    (
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
        "QGemm",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "DynamicQuantizeLSTM",
    )
)
"""Operators that multiply 8-bit integers."""
MOVES = frozenset(
    (
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Split",
        "Slice",
        "Gather",
        "Identity",
        "MaxPool",
        "Concat",
        "Pad",
        "Expand",
    )
)
_FLOATS: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}
_QUANTISED_WEIGHTS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32)
_SCALES = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}
"""Inputs that hold a quantiser's scale or zero point, which are not weights."""
_WEIGHT_OPERATORS = frozenset(("DequantizeLinear", *INTEGER_PRODUCTS, "MatMulNBits"))
_CLASSICAL_WEIGHTS = ("coefficients", "intercepts", "support_vectors", "rho")
_CLASSICAL_UNKNOWN = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
"""Models whose numbers are thresholds and leaves, so they have no parameters in a network's sense."""


@dataclass(frozen=True)
class Weights:
    """Stored numbers of a file: its parameter count (None if they cannot be identified) and their total bytes."""

    parameters: int | None
    bytes: int


@dataclass(frozen=True)
class Precision:
    """Precision of the matrix products, or `mixed`; how many there are and how many are floating point."""

    name: str
    products: int
    floats: int


def nodes_of(model: Any) -> Iterator[Any]:
    """Yield all nodes: of the graph, of its subgraphs, and of the functions that they call (once each)."""
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)


def tensors_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield every stored tensor with its value name: initializers and Constant nodes, in all graphs."""
    graphs = [model.graph]
    for node in nodes_of(model):
        for attribute in node.attribute:
            graphs += [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
            if node.op_type == "Constant" and attribute.type == AttributeProto.TENSOR:
                yield node.output[0], attribute.t
    for graph in graphs:
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
        yield from ((sparse.values.name, sparse.values) for sparse in graph.sparse_initializer)


def weights_of(model: Any) -> Weights:
    """Count parameters and bytes.

    Parameters are stored floats with at least one axis, and integer weights of a quantised network. Quantisers' scales
    and zero points are not counted. Of the classical models, linear ones and support vectors are counted.
    """
    nodes = list(nodes_of(model))
    scales = {node.input[k] for node in nodes for k in _SCALES.get(node.op_type, ()) if k < len(node.input)}
    quantised = {name for node in nodes if node.op_type in _WEIGHT_OPERATORS for name in node.input} - scales
    parameters = size = 0
    for name, tensor in tensors_of(model):
        count = math.prod(tensor.dims)
        size += _bytes(tensor.data_type, count)
        is_weight = tensor.data_type in _FLOATS or (tensor.data_type in _QUANTISED_WEIGHTS and name in quantised)
        if is_weight and name not in scales and tensor.dims:
            parameters += count
    classical = [a for node in nodes for a in node.attribute if a.name in _CLASSICAL_WEIGHTS]
    parameters += sum(len(attribute.floats) for attribute in classical)
    size += 4 * sum(len(attribute.floats) for node in nodes for attribute in node.attribute)
    unknown = any(node.op_type in _CLASSICAL_UNKNOWN for node in nodes)
    return Weights(None if unknown else parameters, size)


def precision_of(model: Any) -> Precision:
    """Return the precision in which the file's matrix products compute.

    int8 if at least half of them multiply integers (or what was dequantised, on both sides), the one float type if
    they all share it, and `mixed` otherwise: two float types, or only the weights quantised. A file without matrix
    products computes in the type of its first float input or weight.
    """
    producers = {output: node for node in nodes_of(model) for output in node.output}
    types = _types(model)
    kinds = Counter(
        _precision(node, producers, types)
        for node in nodes_of(model)
        if node.op_type in PRODUCTS | INTEGER_PRODUCTS | {"MatMulNBits"}
    )
    products, integers = sum(kinds.values()), kinds["int8"]
    if not products:
        stored = [kind for kind in types.values() if kind in _FLOATS]
        return Precision(_FLOATS[stored[0]] if stored else "fp32", 0, 0)
    if 2 * integers >= products:
        return Precision("int8", products, products - integers)
    return Precision(next(iter(kinds)) if len(kinds) == 1 else "mixed", products, products - integers)


def products_in(node: Any) -> int:
    """Return the number of matrix products in one node: a recurrent layer has two per direction."""
    if node.op_type not in _RECURRENT:
        return 1
    directions = [attribute.s for attribute in node.attribute if attribute.name == "direction"]
    return 4 if directions == [b"bidirectional"] else 2


def attributes_of(model: Any, operators: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the attributes of the main graph's nodes with these operators, by node name in ONNX Runtime's profile."""
    attributes: dict[str, dict[str, Any]] = {}
    for place, node in enumerate(model.graph.node):
        if node.op_type in operators:
            attributes[node.name or f"{node.op_type}_{place}"] = {a.name: _value(a) for a in node.attribute}
    return attributes


def _nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes(graph.node)


def _bytes(data_type: int, count: int) -> int:
    if data_type in (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1):
        return (count + 1) // 2
    if data_type == TensorProto.STRING:
        return 0
    return count * helper.tensor_dtype_to_np_dtype(data_type).itemsize


def _types(model: Any) -> dict[str, int]:
    """Return the types of the values that have one in the file: inputs and stored tensors."""
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    return types | {name: tensor.data_type for name, tensor in tensors_of(model)}


def _precision(node: Any, producers: Mapping[str, Any], types: Mapping[str, int]) -> str:
    if node.op_type in INTEGER_PRODUCTS:
        return "int8"
    if node.op_type == "MatMulNBits":
        return "mixed"
    sides = [_is_dequantised(name, producers) for name in node.input[:2]]
    if any(sides):
        return "int8" if all(sides) else "mixed"
    kinds = [kind for name in node.input[:2] if (kind := _float_type(name, producers, types)) is not None]
    return _FLOATS[kinds[-1]] if kinds else "fp32"


def _is_dequantised(name: str, producers: Mapping[str, Any]) -> bool:
    """Whether a value comes from a dequantiser, through any number of data-movement operators."""
    node = producers.get(name)
    while node is not None and node.op_type in MOVES and node.input:
        node = producers.get(node.input[0])
    return node is not None and node.op_type == "DequantizeLinear"


def _float_type(name: str, producers: Mapping[str, Any], types: Mapping[str, int]) -> int | None:
    """Return the float type of a value: the stated one, or that of the values it is computed from."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        if name in types:
            return types[name] if types[name] in _FLOATS else None
        node = producers.get(name)
        if node is None or not node.input:
            return None
        target = next((a.i for a in node.attribute if a.name == "to"), None)
        if target is not None:
            return target if target in _FLOATS else None
        name = node.input[1] if node.op_type in ("DequantizeLinear", "Where") and len(node.input) > 1 else node.input[0]
    return None


def _value(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value
