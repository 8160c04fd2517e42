"""A user's own `.onnx` file: made static, counted, with ONNX Runtime's unoptimised run as its reference."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export.reference import write_reference
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.support import versions
from frm_mlflow.worker.manifest import Artefact, TensorSpec
from frm_mlflow.zoo.catalogue import family_of
from frm_mlflow.zoo.samples import REFERENCE_SEED, images

COMPUTE_OPS = frozenset(("Conv", "Gemm", "MatMul", "ConvTranspose", "Einsum"))
"""ONNX's convolutions and matrix products as torch's exporter writes them."""

_COUNTED_OPS = ("Conv", "Gemm", "MatMul")
_UNCOUNTABLE_OPS = {
    *("Attention", "ConvInteger", "ConvTranspose", "DFT", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop"),
    *("MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN", "Scan"),
}


def operators(model: Any) -> Counter[str]:
    """Operators of the main graph by name, constants left out."""
    return Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")


def pack_file(request: ExportRequest, directory: Path) -> Artefact:
    """Fill `directory` with the user's file at the asked batch size, and describe it.

    Raises
    ------
    ConfigError
        Where the file is not ONNX or has free dimensions that no setting fixes.
    ExportError
        Where ONNX Runtime cannot run it.
    """
    model = _load(Path(str(request.model.path)))
    _fix_inputs(model, request.model, request.batch_size)
    model = onnx.shape_inference.infer_shapes(model)
    file = directory / "model.onnx"
    onnx.save(model, file)
    inputs = tuple(_spec(value) for value in _inputs(model))
    rng = np.random.default_rng(REFERENCE_SEED)
    arrays = tuple(images(s.shape[0], s.shape[1:], rng=rng).astype(s.dtype) for s in inputs)
    outputs = _run_unoptimised(file, inputs, arrays)
    write_reference(directory, arrays, tuple(array.astype(np.float32) for array in outputs))
    specs = tuple(
        TensorSpec(value.name, array.shape, str(array.dtype))
        for value, array in zip(model.graph.output, outputs, strict=True)
    )
    return Artefact(
        model=request.model.name,
        runtime=request.runtime,
        precision="fp32",
        file=file.name,
        inputs=inputs,
        outputs=specs,
        facts=_facts(request, model, inputs, file),
        versions=versions(request.runtime, request.model.source),
    )


def _load(path: Path) -> Any:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:
        raise ConfigError(f"model.path: '{path}' is not a valid ONNX file: {' '.join(str(error).split())}") from error
    return model


def _inputs(model: Any) -> list[Any]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _fix_inputs(model: Any, config: ModelConfig, batch_size: int) -> None:
    """Give every free dimension of the inputs its value and forget the shapes that followed from them."""
    for value in _inputs(model):
        dims = value.type.tensor_type.shape.dim
        wanted = _wanted_shape(config, rank=len(dims))
        for axis, dim in enumerate(dims):
            size = batch_size if axis == 0 else wanted[axis - 1]
            if dim.dim_value and size not in (None, dim.dim_value):
                raise ConfigError(
                    f"model.path: input '{value.name}' has {dim.dim_value} on axis {axis}, not the {size} asked for"
                )
            if not dim.dim_value:
                if size is None:
                    raise ConfigError(
                        f"model.path: axis {axis} of input '{value.name}' is free: set model.input_size or input_shape"
                    )
                dim.dim_value = size
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _wanted_shape(config: ModelConfig, *, rank: int) -> list[int | None]:
    if config.input_shape:
        return [*config.input_shape, *[None] * rank][: rank - 1]
    if config.input_size and rank == 4:
        return [None, config.input_size, config.input_size]
    return [None] * (rank - 1)


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if dtype.kind != "f":
        raise ConfigError(f"model.path: input '{value.name}' is {dtype}; only floating-point inputs can be drawn")
    return TensorSpec(value.name, tuple(dim.dim_value for dim in tensor.shape.dim), str(dtype))


def _run_unoptimised(
    file: Path, inputs: tuple[TensorSpec, ...], arrays: tuple[NDArray[Any], ...]
) -> list[NDArray[Any]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        feeds = {spec.name: array for spec, array in zip(inputs, arrays, strict=True)}
        outputs: list[NDArray[Any]] = session.run(None, feeds)
    except Exception as error:
        raise ExportError(f"onnxruntime cannot run '{file.name}': {' '.join(str(error).split())}") from error
    return outputs


def _facts(request: ExportRequest, model: Any, inputs: tuple[TensorSpec, ...], file: Path) -> dict[str, Any]:
    counted = operators(model)
    weights = [(tensor.data_type, math.prod(tensor.dims)) for tensor in model.graph.initializer]
    compute = sum(counted[name] for name in COMPUTE_OPS)
    macs = multiply_accumulates(model)
    uncounted = sorted(_UNCOUNTABLE_OPS & set(counted))
    facts = {
        "source": "onnx",
        "architecture": request.model.name,
        "family": family_of(request.model),
        "input_size": inputs[0].shape[-1],
        "weights": "own",
        "params_m": sum(count for kind, count in weights if kind == onnx.TensorProto.FLOAT) / 1e6,
        "uncounted_ops": uncounted,
        "weights_mib": file.stat().st_size / 2**20,
        "nodes": sum(counted.values()),
        "compute_nodes": compute,
        "float_nodes": compute,
        "file_bytes": file.stat().st_size,
    }
    if macs is None or uncounted:
        return facts
    return facts | {"gmacs": macs / 1e9 / inputs[0].shape[0], "flops_source": "counted"}


def multiply_accumulates(model: Any) -> int | None:
    """Count those of one call from the shapes that ONNX infers; None where a shape is unknown."""
    graph = model.graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    total = 0
    for node in graph.node:
        if node.op_type in _COUNTED_OPS:
            output, left, right = (shapes.get(name, (0,)) for name in (node.output[0], *node.input[:2]))
            macs = math.prod(output) * _depth(node, left, right)
            if macs == 0:
                return None
            total += macs
    return total


def _depth(node: Any, left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Multiply-accumulates of one output element."""
    if node.op_type == "Conv":
        return math.prod(right[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return left[-2] if transposed else left[-1]
