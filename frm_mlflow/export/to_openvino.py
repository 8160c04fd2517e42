"""Export to OpenVINO: an intermediate representation with float32 or int8 weights.

Half precisions are a hint that the loader gives the runtime; the worker reads back the precision that ran.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import openvino as ov
import torch

from frm_mlflow.export.calibration import calibration_batches
from frm_mlflow.export.subject import Converted, Subject

_PRODUCTS = {
    **dict.fromkeys(("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul", "Einsum"), 1),
    "ScaledDotProductAttention": 2,
    **dict.fromkeys(("LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell"), 2),
}
_LOOPS = ("Loop", "TensorIterator", "If")
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Gather", "Split", "VariadicSplit")
_HINTS = {"fp32": "f32", "int8": "f32", "fp16": "f16", "bf16": "bf16"}


def convert(subject: Subject, directory: Path) -> Converted:
    """Convert the network with OpenVINO's PyTorch front end; int8 uses NNCF's static quantisation."""
    file = directory / "model.xml"
    precision = subject.precision.name
    model = _static_model(subject)
    if precision == "int8":
        model = _quantised(model, subject)
    ov.save_model(model, file, compress_to_fp16=False)
    operators = Counter(operator.get_type_name() for operator in model.get_ops())
    for name in ("Constant", "Parameter", "Result", "Convert"):
        operators.pop(name, None)
    products = [operator for operator in model.get_ops() if operator.get_type_name() in _PRODUCTS]
    floats = [operator for operator in products if not _is_quantised(operator)]
    return Converted(
        file=file,
        precision=precision,
        inputs=subject.built.inputs,
        outputs=subject.output_specs,
        nodes=sum(operators.values()),
        compute_nodes=sum(_products_in(operator) for operator in products),
        float_nodes=sum(_products_in(operator) for operator in floats),
        has_loops=any(name in operators for name in _LOOPS),
        loader={"inference_precision": _HINTS[precision]},
    )


def _static_model(subject: Subject) -> Any:
    example = tuple(torch.from_numpy(array) for array in subject.inputs)
    shapes = [list(array.shape) for array in subject.inputs]
    model = ov.convert_model(subject.built.module, example_input=example, input=shapes)
    for port, spec in zip(model.inputs, subject.built.inputs, strict=True):
        port.get_tensor().set_names({spec.name})
    return model


def _quantised(model: Any, subject: Subject) -> Any:
    import nncf

    batches = calibration_batches(subject)
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))


def _products_in(operator: Any) -> int:
    is_twofold = str(operator.get_attributes().get("direction", "")).lower() == "bidirectional"
    return _PRODUCTS[operator.get_type_name()] * (2 if is_twofold else 1)


def _is_quantised(operator: Any) -> bool:
    """Whether the operator's weights are integers or, for a product of two activations, a quantiser feeds it."""
    weights = _origin(operator.input_value(1), through=(*_MOVES, "Convert", "Subtract", "Multiply"))
    if weights.get_type_name() == "Constant":
        return weights.get_output_element_type(0) in (ov.Type.i8, ov.Type.u8)
    return bool(_origin(operator.input_value(0), through=_MOVES).get_type_name() == "FakeQuantize")


def _origin(output: Any, *, through: tuple[str, ...]) -> Any:
    """Return the first node upstream of `output` whose type is not in `through`."""
    node = output.get_node()
    while node.get_type_name() in through:
        node = node.input_value(0).get_node()
    return node
