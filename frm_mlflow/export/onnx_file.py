"""A user's `.onnx` file, run unchanged; an unoptimised ONNX Runtime session gives its reference outputs and cost."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from frm_mlflow.config import ModelConfig
from frm_mlflow.config.inputs import DTYPES, InputSpec, sized
from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export.onnx_cost import NEEDS_ATTRIBUTES, GraphCost, cost_of, read_events
from frm_mlflow.export.onnx_graph import MOVES, attributes_of, nodes_of, precision_of, tensors_of, weights_of
from frm_mlflow.export.reference import write_reference
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.support import versions
from frm_mlflow.worker.manifest import MANIFEST_NAME, REFERENCE_NAME, ExportedModel, TensorSpec
from frm_mlflow.worker.sessions.base import tensors_in
from frm_mlflow.zoo.catalogue import family_of
from frm_mlflow.zoo.flops import NO_PRODUCTS
from frm_mlflow.zoo.inputs import Input, axes_of, draw, np_name, picture_side, read, specs_of
from frm_mlflow.zoo.samples import REFERENCE_SEED

Array = NDArray[Any]

FILE_NAME = "model.onnx"
_PROFILE = "profile"


def operators(model: Any) -> Counter[str]:
    """Count the operators by name, including those in functions and subgraphs, without constants."""
    return Counter(node.op_type for node in nodes_of(model) if node.op_type != "Constant")


def pack_file(request: ExportRequest, directory: Path) -> ExportedModel:
    """Fill `directory` with the user's file, unchanged, and describe it at the requested batch size.

    Raises
    ------
    ConfigError
        If the file is not ONNX, or has free axes without a size in any setting.
    ExportError
        If ONNX Runtime cannot run it.
    """
    path = Path(str(request.model.path))
    model = load(path)
    inputs = settled_inputs(model, request.model, batch_size=request.batch_size)
    _place(path, model, directory)
    arrays = draw([one.drawn for one in inputs], rng=np.random.default_rng(REFERENCE_SEED))
    outputs, cost = _run_unoptimised(
        path, model, {one.name: a for one, a in zip(inputs, arrays, strict=True)}, directory
    )
    _refuse_not_finite(outputs, request.model.name)
    write_reference(directory, arrays, [array for _, array in outputs])
    precision = precision_of(model)
    return ExportedModel(
        model=request.model.name,
        runtime=request.runtime,
        precision=precision.name,
        file=FILE_NAME,
        inputs=tuple(TensorSpec(one.name, one.drawn.shape, one.drawn.dtype) for one in inputs),
        outputs=tuple(TensorSpec(name, array.shape, np_name(array.dtype)) for name, array in outputs),
        loader={"free_dimensions": _free_dimensions(inputs)},
        facts=_facts(request, model, inputs, cost)
        | {"compute_nodes": precision.products, "float_nodes": precision.floats},
        versions=versions(request.runtime, request.model.source),
    )


def load(path: Path) -> Any:
    """Return the file's graph without its external data, which may be larger than protobuf allows.

    Raises
    ------
    ConfigError
        If it is not an ONNX file. Whether the file can run is left to the runtime.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors are not public, and differ between its implementations
        raise ConfigError(f"model.path: '{path}' is not a valid ONNX file: {' '.join(str(error).split())}") from error
    if not model.graph.output:
        raise ConfigError(f"model.path: '{path}' is not a valid ONNX file: it has no graph with outputs")
    return model


def input_names(model: Any) -> list[str]:
    """Return the names of the inputs that a call must give."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]


def has_open_axes(path: Path, *, batch_size: int) -> bool:
    """Whether the file has a free axis other than the batch, so its shapes need an example or a setting."""
    try:
        settled_inputs(load(path), ModelConfig(name="", source="onnx", path=str(path)), batch_size=batch_size)
    except ConfigError as error:
        return "is free" in str(error) or "has no shape" in str(error)
    return False


def saved_inputs(path: Path, example: Any, scratch: Path) -> dict[str, Any]:
    """Return the `model.inputs` that feed an example, saved in `scratch`, to the file.

    The example is one array, arrays by input name, or a tuple or list of them in the file's order.
    """
    names = input_names(load(path))
    if isinstance(example, Mapping):
        arrays = {name: value for name, value in example.items() if name in names}
    else:
        row = example if isinstance(example, tuple | list) and len(names) > 1 else [example]
        arrays = dict(zip(names, row, strict=False))
    saved = scratch / "example.npz"
    plain = {name: np.asarray(value) for name, value in arrays.items()}
    texts = {name: array.astype(str) if array.dtype == object else array for name, array in plain.items()}
    np.savez(saved, allow_pickle=False, **texts)
    return {name: {"file": str(saved)} for name in arrays}


def external_files(path: Path, model: Any) -> dict[str, Path]:
    """Return the files with external data that the model refers to, by their path relative to it.

    Raises
    ------
    ConfigError
        For a file that is missing, or that is not below the model's folder.
    """
    folder = path.parent.resolve()
    files = {}
    for _, tensor in tensors_of(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        file = (folder / location).resolve()
        if not location or PurePosixPath(location).is_absolute() or not file.is_relative_to(folder):
            raise ConfigError(f"model.path: '{path}' refers to external data outside of its folder: '{location}'")
        if not file.is_file():
            raise ConfigError(f"model.path: '{path}' needs '{location}' in the same folder, which was not found")
        files[location] = file
    return files


@dataclass(frozen=True)
class FileInput:
    """An input of the file with its shape resolved: what is drawn for it, and the size of each named free axis."""

    name: str
    drawn: Input
    symbols: Mapping[str, int]


def settled_inputs(model: Any, config: ModelConfig, *, batch_size: int) -> tuple[FileInput, ...]:
    """Return the file's inputs with every axis resolved.

    A fixed axis keeps its size. A free axis takes its size from `model.inputs`, `model.axes` (by its name), the batch
    size (the first axis), or `input_size` and `input_shape`.

    Raises
    ------
    ConfigError
        For a free axis without a size in any setting, a setting that contradicts the file, an input that does not
        exist, or one that cannot be drawn.
    """
    names = set(input_names(model))
    values = [value for value in model.graph.input if value.name in names]
    specs = specs_of(config)
    unknown = sorted(set(specs) - {value.name for value in values})
    if unknown:
        raise ConfigError(
            f"model.inputs: '{config.path}' has no input '{unknown[0]}', it has {', '.join(v.name for v in values)}"
        )
    axes = axes_of(config, batch_size=batch_size)
    largest = _largest_indices(model)
    inputs = []
    for value in values:
        spec = specs.get(value.name, InputSpec(value.name))
        dtype = _dtype(value, spec)
        shape, symbols = _shape(value, spec, config, axes)
        drawn = Input(value.name, shape, dtype, spec, largest.get(value.name))
        inputs.append(FileInput(value.name, drawn, symbols))
        axes = {**symbols, **axes}
    _check_batch(inputs, specs, batch_size)
    return tuple(inputs)


def _dtype(value: Any, spec: InputSpec) -> str:
    if not value.type.HasField("tensor_type"):
        kind = str(value.type.WhichOneof("value")).removesuffix("_type")
        raise ConfigError(f"model.path: input '{value.name}' is a {kind}; only tensors can be fed")
    kind = value.type.tensor_type.elem_type
    dtype = np_name(helper.tensor_dtype_to_np_dtype(kind))
    if dtype not in DTYPES and not dtype.startswith(("int", "uint")):
        raise ConfigError(f"model.path: input '{value.name}' is {TensorProto.DataType.Name(kind)}, which cannot be fed")
    if spec.dtype not in (None, dtype):
        raise ConfigError(f"model.inputs.{value.name}.dtype is {spec.dtype}, but the file takes {dtype}")
    return dtype


def _shape(
    value: Any, spec: InputSpec, config: ModelConfig, axes: Mapping[str, int]
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return the input's shape, and the sizes of its named free axes."""
    tensor = value.type.tensor_type
    set_shape = None if spec.shape is None else sized(spec.shape, axes, name=spec.name)
    if set_shape is None and spec.file is not None:
        set_shape = _file_shape(spec, axes["batch"])
    if not tensor.HasField("shape"):
        if set_shape is None:
            raise ConfigError(f"model.path: input '{value.name}' has no shape: set model.inputs.{value.name}=[batch]")
        return set_shape, {}
    dims = list(tensor.shape.dim)
    if set_shape is not None and len(set_shape) != len(dims):
        raise ConfigError(f"model.inputs.{value.name} has {len(set_shape)} axes, but the file's input has {len(dims)}")
    sides = _configured_shape(config, rank=len(dims))
    sizes = [_size(value.name, k, dim, set_shape, sides, axes) for k, dim in enumerate(dims)]
    free = zip(dims, sizes, strict=True)
    return tuple(sizes), {dim.dim_param: size for dim, size in free if dim.dim_param and dim.dim_value <= 0}


def _size(
    name: str,
    axis: int,
    dim: Any,
    set_shape: Sequence[int] | None,
    sides: Sequence[int | None],
    axes: Mapping[str, int],
) -> int:
    fixed = dim.dim_value if dim.dim_value > 0 else None
    # A fixed batch size is checked across all inputs: a state or a constant may have another first axis.
    setting = set_shape[axis] if set_shape is not None else sides[axis]
    if fixed is not None:
        if setting not in (None, fixed):
            raise ConfigError(f"model.path: input '{name}' has {fixed} on axis {axis}, not the {setting} asked for")
        return int(fixed)
    if setting is None:
        setting = axes.get(dim.dim_param) if dim.dim_param else None
    if setting is None and axis == 0:
        setting = axes["batch"]
    if setting is None:
        by_name = f"model.axes.{dim.dim_param}=SIZE, " if dim.dim_param.isidentifier() else ""
        raise ConfigError(
            f"model.path: axis {axis} of input '{name}' is free: set model.input_size or input_shape, "
            f"{by_name}or the whole shape: model.inputs.{name}=[batch,...]"
        )
    return int(setting)


def _file_shape(spec: InputSpec, batch_size: int) -> tuple[int, ...]:
    """Return the shape of a file's array, with the batch on its first axis."""
    shape = read(spec).shape
    return (batch_size, *shape[1:]) if shape else shape


def _configured_shape(config: ModelConfig, *, rank: int) -> list[int | None]:
    if config.input_shape and rank:
        return [None, *config.input_shape, *[None] * rank][:rank]
    if config.input_size and rank == 4:
        return [None, None, config.input_size, config.input_size]
    return [None] * rank


def _check_batch(inputs: Sequence[FileInput], specs: Mapping[str, InputSpec], batch_size: int) -> None:
    """Reject a file whose batch is fixed to another size; a batch axis that the settings name is trusted."""
    firsts = {one.name: one.drawn.shape[0] for one in inputs if len(one.drawn.shape) > 1}
    is_named = any("batch" in (spec.shape or ()) for spec in specs.values())
    if firsts and not is_named and batch_size not in firsts.values():
        name, size = next(iter(firsts.items()))
        raise ConfigError(
            f"model.path: input '{name}' has {size} on axis 0, not the {batch_size} asked for: set batch_size={size}, "
            f"or name the axis that is the batch: model.inputs.{name}=[{size},batch,...]"
        )


def _largest_indices(model: Any) -> dict[str, int]:
    """Return the largest index allowed for each input that selects rows of a stored table, such as token ids."""
    sizes = {name: tuple(tensor.dims) for name, tensor in tensors_of(model)}
    sources: dict[str, str] = {}
    largest: dict[str, int] = {}
    for node in nodes_of(model):
        if node.op_type in (MOVES - {"Gather"}) | {"Cast"} and node.input:
            sources[node.output[0]] = sources.get(node.input[0], node.input[0])
        if node.op_type == "Gather" and sizes.get(node.input[0]):
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            name = sources.get(node.input[1], node.input[1])
            last = sizes[node.input[0]][axis] - 1
            largest[name] = min(last, largest.get(name, last))
    return largest


def _free_dimensions(inputs: Sequence[FileInput]) -> dict[str, int]:
    """Return the named free axes with their sizes as a hint for the runtime; they stay free in the file."""
    sizes: dict[str, set[int]] = {}
    for one in inputs:
        for symbol, size in one.symbols.items():
            sizes.setdefault(symbol, set()).add(size)
    return {symbol: next(iter(found)) for symbol, found in sizes.items() if len(found) == 1}


def _place(path: Path, model: Any, directory: Path) -> None:
    """Put the file and its external data in `directory`; large data is hard-linked if the disk allows it."""
    shutil.copyfile(path, directory / FILE_NAME)
    for location, file in external_files(path, model).items():
        if location in (FILE_NAME, MANIFEST_NAME, REFERENCE_NAME):
            raise ConfigError(f"model.path: external data named '{location}' cannot be stored: rename it")
        copy = directory / location
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, copy)
        except OSError:  # another disk, or one that does not support links
            shutil.copyfile(file, copy)


def _run_unoptimised(
    path: Path, model: Any, feeds: Mapping[str, Array], directory: Path
) -> tuple[list[tuple[str, Array]], GraphCost]:
    """Return the outputs' tensors by name, and the cost of the nodes that ran."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(directory / _PROFILE)
    # Weights that are prepacked for a kernel would be missing from the profile.
    options.add_session_config_entry("session.disable_prepacking", "1")
    ort.set_default_logger_severity(3)
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        given = {name: a.astype(object) if a.dtype.kind == "U" else a for name, a in feeds.items()}
        results = session.run(None, given)
        profile = Path(session.end_profiling())
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ExportError(_refused(path, feeds, error)) from error
    cost = cost_of(read_events(profile), attributes_of(model, NEEDS_ATTRIBUTES))
    profile.unlink()
    named = [(output.name, tensors_in(result)) for output, result in zip(session.get_outputs(), results, strict=True)]
    return [
        (name if len(parts) == 1 else f"{name}[{k}]", part) for name, parts in named for k, part in enumerate(parts)
    ], cost


def _refused(path: Path, feeds: Mapping[str, Array], error: Exception) -> str:
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
    reason = " ".join(str(error).split())[:400]
    remedy = (
        f" Set the shape of each input: model.inputs={{{next(iter(feeds))}:[batch,...],...}}" if len(feeds) > 1 else ""
    )
    return f"onnxruntime cannot run '{path.name}' with inputs {shapes}: {reason}.{remedy}"


def _refuse_not_finite(outputs: Sequence[tuple[str, Array]], model: str) -> None:
    bad = [name for name, array in outputs if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if bad:
        raise ExportError(
            f"'{model}' gives values that are not finite on drawn inputs (output '{bad[0]}'): set the range of its "
            "inputs, or a file with real ones: model.inputs.NAME={low:0,high:1} or {file:inputs.npz}"
        )


def _facts(request: ExportRequest, model: Any, inputs: Sequence[FileInput], cost: GraphCost) -> dict[str, Any]:
    weights = weights_of(model)
    shapes = [one.drawn.shape for one in inputs]
    uncounted = cost.uncounted_ops or (() if cost.macs else (NO_PRODUCTS,))
    facts: dict[str, Any] = {
        "source": "onnx",
        "architecture": request.model.name,
        "family": family_of(request.model),
        "weights": "own",
        "uncounted_ops": list(uncounted),
        "weights_mib": weights.bytes / 2**20,
        "nodes": sum(operators(model).values()),
        "file_bytes": Path(str(request.model.path)).stat().st_size,
    }
    if shapes and (side := picture_side(shapes[0])) is not None:
        facts["input_size"] = side
    if weights.parameters is not None:
        facts["params_m"] = weights.parameters / 1e6
    if uncounted:
        return facts
    counted = {"gmacs": cost.macs / 1e9, "activations_m": cost.activations / 1e6}
    return facts | {key: value / request.batch_size for key, value in counted.items()} | {"flops_source": "counted"}
