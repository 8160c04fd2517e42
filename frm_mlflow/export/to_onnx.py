"""Export to ONNX Runtime: one `.onnx` file, in float32, float16 or int8 (quantise-dequantise pairs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from numpy.typing import NDArray

from frm_mlflow.export.calibration import calibration_batches
from frm_mlflow.export.onnx_file import operators, pack_file
from frm_mlflow.export.onnx_graph import PRODUCTS, nodes_of, products_in
from frm_mlflow.export.subject import Converted, Subject
from frm_mlflow.export.to_torch import DTYPES

__all__ = ["convert", "pack_file"]

OPSET = 20
RANGE_AVERAGING = 0.1
"""Weight of each calibration batch in an activation's range, a moving average of the batches' extremes.

The extremes over all batches grow with each outlier: they give efficientnet_b0 a cosine of 0.69, the average 0.94.
"""
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Split", "Slice", "Gather", "Identity", "MaxPool")


def convert(subject: Subject, directory: Path) -> Converted:
    """Export the network; int8 is calibrated on the float32 export."""
    file = directory / "model.onnx"
    precision = subject.precision.name
    dtype = "float16" if precision == "fp16" else "float32"
    _trace(subject, file, dtype=DTYPES["fp16" if precision == "fp16" else "fp32"])
    if precision == "int8":
        _quantise(file, subject, for_tensorrt=subject.runtime == "tensorrt")
    model = onnx.load(file)
    onnx.checker.check_model(model)
    producers = {output: node for node in nodes_of(model) for output in node.output}
    products = [node for node in nodes_of(model) if node.op_type in PRODUCTS]
    return Converted(
        file=file,
        precision=precision,
        inputs=tuple(
            replace(spec, dtype=dtype) if spec.dtype.startswith("float") else spec for spec in subject.built.inputs
        ),
        outputs=tuple(
            replace(spec, dtype=dtype) if spec.dtype.startswith("float") else spec for spec in subject.output_specs
        ),
        nodes=sum(operators(model).values()),
        compute_nodes=sum(products_in(node) for node in products),
        float_nodes=sum(products_in(node) for node in products if not _is_quantised(node, producers)),
        has_loops=any(node.op_type in ("Loop", "Scan", "If") for node in model.graph.node),
    )


def _trace(subject: Subject, file: Path, *, dtype: torch.dtype) -> None:
    """Write the network with torch's tracing exporter, as exact as the newer one and ten times as fast."""
    torch.onnx.export(
        subject.built.module.to(dtype),
        tuple(_cast(torch.from_numpy(array), dtype) for array in subject.inputs),
        file,
        input_names=[spec.name for spec in subject.built.inputs],
        output_names=[spec.name for spec in subject.output_specs],
        opset_version=OPSET,
        dynamo=False,
    )


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _quantise(file: Path, subject: Subject, *, for_tensorrt: bool) -> None:
    """Quantise in place: weights to int8 per channel, activations to uint8, the form that CPUs with VNNI multiply.

    TensorRT accepts only int8 activations with zero point 0.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
        def __init__(self) -> None:
            self._feeds = iter([{subject.built.inputs[0].name: batch} for batch in calibration_batches(subject)])

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._feeds, None)

    simplified = file.with_name("simplified.onnx")
    quant_pre_process(str(file), str(simplified), skip_symbolic_shape=True)
    quantize_static(
        str(simplified),
        str(file),
        Batches(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if for_tensorrt else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            "CalibMovingAverage": True,
            "CalibMovingAverageConstant": RANGE_AVERAGING,
            "ActivationSymmetric": for_tensorrt,
        },
    )
    simplified.unlink()


def _is_quantised(node: Any, producers: Mapping[str, Any]) -> bool:
    """Whether the operator's data comes from a dequantiser, through any number of data-movement operators."""
    source = producers.get(node.input[0])
    while source is not None and source.op_type in _MOVES:
        source = producers.get(source.input[0])
    return source is not None and source.op_type == "DequantizeLinear"
