"""Cost of one call of an `.onnx` file, from ONNX Runtime's profile of the nodes that ran and their shapes.

The profile shows what really ran on the measured input: the nodes inside functions and loops, each as often as it ran,
and shapes that depend on data. The rule is that of `zoo.operators`: formulas for products, a list of free operators.
Any other operator is named as uncounted, and then no FLOPs are reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]

MOST_EVENTS = 1_000_000
"""Maximum number of events that ONNX Runtime records per session; later events are lost."""

_FREE_NAMES = """
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin ArrayFeatureExtractor Asin Asinh Atan Atanh AveragePool
BatchNormalization Bernoulli BiasGelu BiasSplitGelu Binarizer BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
BlackmanWindow Cast CastLike CastMap CategoryMapper Ceil Celu CenterCropPad Clip Col2Im Compress Concat
ConcatFromSequence Constant ConstantOfShape Cos Cosh CumProd CumSum DepthToSpace DequantizeLinear DictVectorizer
Div Dropout DynamicQuantizeLinear Elu EmbedLayerNormalization Equal Erf Exp Expand EyeLike FastGelu
FeatureVectorizer Flatten Floor Gather GatherElements GatherND Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual GridSample GroupNorm GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish
Hardmax Identity If Imputer InstanceNormalization IsInf IsNaN LRN LabelEncoder LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax Loop LpNormalization LpPool Max MaxPool MaxRoiPool MaxUnpool Mean
MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg NonMaxSuppression NonZero Normalizer Not
OneHot OneHotEncoder Optional OptionalGetElement OptionalHasElement Or PRelu Pad Pow QLinearAdd QLinearAveragePool
QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearSoftmax QLinearWhere
QuickGelu QuantizeLinear RMSNormalization RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round Scaler Scan
Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert
SequenceLength SequenceMap Shape Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Size
SkipLayerNormalization SkipSimplifiedLayerNormalization Slice Softmax Softplus Softsign SpaceToDepth Split
SplitToSequence Sqrt Squeeze StringConcat StringNormalizer StringSplit Sub Sum Swish Tan Tanh TensorScatter
TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor ZipMap
"""
_FREE = frozenset(_FREE_NAMES.split())
"""Operators that by convention have no multiply-accumulates. A loop or branch is free; its body is not."""


@dataclass(frozen=True)
class Event:
    """One execution of one node."""

    name: str
    operator: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


@dataclass(frozen=True)
class GraphCost:
    """Multiply-accumulates of one call, elements that its products write, and operators that could not be counted."""

    macs: int
    activations: int
    uncounted_ops: tuple[str, ...]


def cost_of(events: Sequence[Event], attributes: Mapping[str, Mapping[str, Any]]) -> GraphCost:
    """Return the cost of the nodes that ran; `attributes` are those of the nodes in `NEEDS_ATTRIBUTES` by node name."""
    macs = activations = 0
    uncounted = {f"more than {MOST_EVENTS:,} nodes ran"} if len(events) >= MOST_EVENTS else set()
    for event in events:
        node_macs = macs_of(event, attributes.get(event.name, {}))
        if node_macs is None:
            uncounted.add(event.operator)
        elif node_macs:
            macs += node_macs
            activations += math.prod(event.outputs[0])
    return GraphCost(macs, activations, tuple(sorted(uncounted)))


def macs_of(event: Event, attributes: Mapping[str, Any]) -> int | None:
    """Return the multiply-accumulates of one execution of a node: 0 if it is free, None if they are unknown."""
    formula = _FORMULAS.get(event.operator)
    if formula is None:
        return 0 if event.operator in _FREE else None
    try:
        return int(formula(event.inputs, event.outputs, attributes))
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return None  # the profile lacks a shape or an attribute: reported as uncounted, never added to the sum


def read_events(profile: Path) -> tuple[Event, ...]:
    """Return the executed nodes in order, from an ONNX Runtime profile."""
    with profile.open() as file:
        content = json.load(file)
    return tuple(_event(entry) for entry in content if entry.get("cat") == "Node" and "op_name" in entry["args"])


def _event(entry: Mapping[str, Any]) -> Event:
    args = entry["args"]
    name = str(entry["name"]).removesuffix("_kernel_time")
    return Event(name, args["op_name"], _shapes(args["input_type_shape"]), _shapes(args["output_type_shape"]))


def _shapes(entries: Iterable[Mapping[str, Sequence[int]]]) -> tuple[Shape, ...]:
    return tuple(tuple(shape) for entry in entries for shape in entry.values())


Formula = Callable[[Sequence[Shape], Sequence[Shape], Mapping[str, Any]], float]


def _convolution(weight: int) -> Formula:
    return lambda inputs, outputs, _: math.prod(outputs[0]) * math.prod(inputs[weight][1:])


def _transposed(inputs: Sequence[Shape], outputs: Sequence[Shape], _: Mapping[str, Any]) -> float:  # noqa: ARG001
    return math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _product(inputs: Sequence[Shape], outputs: Sequence[Shape], _: Mapping[str, Any]) -> float:
    return math.prod(outputs[0]) * inputs[0][-1]


def _fused_product(inputs: Sequence[Shape], outputs: Sequence[Shape], _: Mapping[str, Any]) -> float:
    """Count a product whose operands may be transposed: the depth is the left one's other axis."""
    rows, columns = inputs[0][-2:]
    depth = columns if rows == outputs[0][-2] else rows
    return math.prod(outputs[0]) * depth


def _gemm(inputs: Sequence[Shape], outputs: Sequence[Shape], _: Mapping[str, Any]) -> float:
    rows, columns = outputs[0]
    return math.prod(inputs[0]) // rows * rows * columns


def _recurrent(inputs: Sequence[Shape], outputs: Sequence[Shape], _: Mapping[str, Any]) -> float:  # noqa: ARG001
    """Count a recurrent layer: each step of each sequence multiplies input and state by weights, per direction."""
    steps = math.prod(inputs[0][:-1])
    return steps * (math.prod(inputs[1]) + math.prod(inputs[2]))


def _attention(inputs: Sequence[Shape], outputs: Sequence[Shape], _: Mapping[str, Any]) -> float:  # noqa: ARG001
    """Count ONNX's Attention (query, key, value) or Microsoft's (an input and one weight for all three)."""
    query, key = inputs[:2]
    if len(key) == 2:
        batch, length, width = query
        return batch * length * width * key[1] + 2 * batch * length * length * key[1] // 3
    value = inputs[2]
    per_pair = query[-1] + value[-1] * (query[-1] // key[-1] if len(query) == 3 else 1)
    return math.prod(query[:-1]) * key[-2] * per_pair


def _einsum(inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, Any]) -> float:  # noqa: ARG001
    """Count a product of two operands: one multiply-accumulate for each combination of indices."""
    terms = attributes["equation"].replace(" ", "").partition("->")[0].split(",")
    if len(terms) > 2 or any("." in term for term in terms):
        raise ValueError(attributes["equation"])
    if len(terms) == 1:
        return 0
    sizes = {index: size for term, shape in zip(terms, inputs, strict=True) for index, size in zip(term, shape)}  # noqa: B905
    return math.prod(sizes.values())


def _per_sample(attribute: str) -> Formula:
    """Return the formula for a classical model that multiplies each sample by every number in an attribute."""
    return lambda inputs, _, attributes: math.prod(inputs[0][:-1]) * len(attributes[attribute])


_FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "DeformConv"), _convolution(1)),
    **dict.fromkeys(("QLinearConv",), _convolution(3)),
    "ConvTranspose": _transposed,
    **dict.fromkeys(("MatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"), _product),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulNBits"), _product),
    "FusedMatMul": _fused_product,
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), _attention),
    "Einsum": _einsum,
    "CDist": _product,
    **dict.fromkeys(("LinearClassifier", "LinearRegressor"), _per_sample("coefficients")),
    **dict.fromkeys(("SVMClassifier", "SVMRegressor"), _per_sample("support_vectors")),
}
NEEDS_ATTRIBUTES = ("Einsum", "LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor")
"""Operators whose cost cannot be computed from their shapes alone."""
