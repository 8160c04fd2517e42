"""Export to LiteRT (TensorFlow Lite's successor): a `.tflite` flatbuffer in float32 or static int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import litert_torch
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from frm_mlflow.export.calibration import calibration_batches
from frm_mlflow.export.subject import Converted, Subject

_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL")
_CALIBRATION_THREADS = 1


def convert(subject: Subject, directory: Path) -> Converted:
    """Convert the network through StableHLO; int8 models have quantised inputs and outputs."""
    file = directory / "model.tflite"
    example = tuple(torch.from_numpy(array) for array in subject.inputs)
    litert_torch.convert(subject.built.module, example).export(str(file))
    if subject.precision.name == "int8":
        _quantise(file, subject)
    operators, types = _graph(file)
    products = [operator for operator in operators if operator["op_name"] in _PRODUCTS]
    floats = [operator for operator in products if types[operator["inputs"][0]] == "float32"]
    return Converted(
        file=file,
        precision=subject.precision.name,
        inputs=subject.built.inputs,
        outputs=subject.output_specs,
        nodes=len(operators),
        compute_nodes=len(products),
        float_nodes=len(floats),
    )


def _quantise(file: Path, subject: Subject) -> None:
    from ai_edge_quantizer import quantizer, recipe

    maker = quantizer.Quantizer(str(file), recipe.static_wi8_ai8())
    signature, details = next(iter(_open(file).get_signature_list().items()))
    name = details["inputs"][0]
    samples = [{name: batch} for batch in calibration_batches(subject)]
    ranges = maker.calibrate({signature: samples}, num_threads=_CALIBRATION_THREADS)
    file.unlink()
    maker.quantize(ranges).export_model(str(file))


def _graph(file: Path) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Return the operators and every tensor's dtype, before any delegate replaces operators."""
    interpreter = _open(file)
    interpreter.allocate_tensors()
    types = {tensor["index"]: tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
    return interpreter._get_ops_details(), types


def _open(file: Path) -> Interpreter:
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(str(file), experimental_op_resolver_type=resolver)
