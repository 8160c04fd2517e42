"""Export a model: build the network, compute its reference outputs, convert it, check it and describe it."""

from __future__ import annotations

import importlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export import live_file, program_file
from frm_mlflow.export.flat import Flat, described
from frm_mlflow.export.reference import write_reference
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.subject import Converted, Subject, as_reference, tensor_dtype
from frm_mlflow.export.support import exported_as, runtime_named, versions
from frm_mlflow.worker.manifest import ExportedModel, TensorSpec
from frm_mlflow.zoo.build import BuiltModel, build
from frm_mlflow.zoo.call import Call
from frm_mlflow.zoo.catalogue import architecture_of, family_of
from frm_mlflow.zoo.fit import flatten
from frm_mlflow.zoo.flops import ComputeCost, count_module
from frm_mlflow.zoo.operators import unfused_attention
from frm_mlflow.zoo.samples import REFERENCE_SEED

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
KEPT_SHARE = 0.9
"""Minimum share of the network's weights and compute operators in an export; less means removed branches."""


def pack(request: ExportRequest, directory: Path) -> None:
    """Fill `directory` with the exported model that `request` describes.

    Raises
    ------
    ConfigError, ModelError
        If the network cannot be built.
    ExportError
        If the converter rejects it or removed part of it.
    """
    exporter = importlib.import_module(f"frm_mlflow.export.{runtime_named(request.runtime).exporter}")
    if request.model.source == "onnx":
        if not hasattr(exporter, "pack_file"):
            raise ExportError(f"{request.runtime} takes no .onnx file; onnxruntime does")
        exported_model = exporter.pack_file(request, directory)
    else:
        subject = _PREPARE.get(request.model.source, prepare)(request)
        with unfused_attention():
            converted: Converted = exporter.convert(subject, directory)
        check_whole(subject, converted)
        exported_model = _describe(request, subject, converted)
        write_reference(directory, subject.inputs, subject.outputs)
    exported_model.write(directory)


def prepare(request: ExportRequest) -> Subject:
    """Build the network and run the reference: eager torch in float32 on one fixed input."""
    built = build(request.model, batch_size=request.batch_size)
    call = built.call or Call((built.example(seed=REFERENCE_SEED),))
    return subject_of(built, call, request)


def subject_of(built: BuiltModel, call: Call, request: ExportRequest) -> Subject:
    """Return the network with flat lists of tensors in and out, and its reference and cost for that same call."""
    flat = Flat(built.module, call.args, call.kwargs)
    if not flat.example:
        raise ConfigError(f"'{built.name}': the example holds no tensor; give the arguments of one call")
    with torch.no_grad():
        is_plain = isinstance(call.of(built.module), torch.Tensor | tuple | list | dict)
    module = built.module if flat.is_positional and is_plain else flat
    names = _names(built, call, flat)
    specs = [TensorSpec(name, tuple(t.shape), tensor_dtype(t)) for name, t in zip(names, flat.example, strict=True)]
    with torch.no_grad():
        outputs = flatten(module(*flat.example))
    return Subject(
        built=replace(built, module=module, inputs=tuple(specs)),
        inputs=tuple(tensor.numpy() for tensor in flat.example),
        outputs=tuple(as_reference(output) for output in outputs),
        cost=count_module(module, flat.example, batch_size=request.batch_size),
        precision=request.precision,
        runtime=request.runtime,
        call=None if flat.is_positional else described(call.args, call.kwargs),
    )


def _names(built: BuiltModel, call: Call, flat: Flat) -> list[str]:
    """Return the inputs' names: from the settings, from keyword arguments, or by position."""
    if len(built.inputs) == len(flat.example):
        return [spec.name for spec in built.inputs]
    names = [name for name, value in call.kwargs.items() if isinstance(value, torch.Tensor)]
    if len(names) == len(flat.example):
        return names
    return ["input"] if len(flat.example) == 1 else [f"input_{k}" for k in range(len(flat.example))]


def check_whole(subject: Subject, converted: Converted) -> None:
    """Reject an exported model that lacks weights or operators of the network.

    Raises
    ------
    ExportError
        If the file or its graph is smaller than the network can be in its precision.
    """
    weights = subject.cost.weights * BYTES.get(converted.precision, 1)
    size = file_bytes(converted.file)
    if size < KEPT_SHARE * weights:
        raise ExportError(
            f"the converter removed part of '{subject.built.name}': its file has {size:,} bytes, "
            f"its distinct parameters in {converted.precision} take {weights:,.0f}"
        )
    if not converted.has_loops and converted.compute_nodes < KEPT_SHARE * subject.cost.products:
        raise ExportError(
            f"the converter removed part of '{subject.built.name}': {converted.compute_nodes} convolutions and matrix "
            f"products of {subject.cost.products} are left"
        )


def file_bytes(file: Path) -> int:
    """Return the size in bytes of a model's file and of the weight files next to it (same stem)."""
    return sum(path.stat().st_size for path in file.parent.glob(f"{file.stem}.*"))


def _describe(request: ExportRequest, subject: Subject, converted: Converted) -> ExportedModel:
    return ExportedModel(
        model=request.model.name,
        runtime=exported_as(request.runtime),
        precision=converted.precision,
        file=converted.file.name,
        inputs=converted.inputs,
        outputs=converted.outputs,
        loader=converted.loader,
        facts=_facts(request, subject, converted),
        versions=versions(request.runtime, request.model.source),
    )


def _facts(request: ExportRequest, subject: Subject, converted: Converted) -> dict[str, Any]:
    return {
        "source": request.model.source,
        "architecture": architecture_of(request.model),
        "family": family_of(request.model),
        "weights": subject.built.weights,
        "params_m": subject.cost.params_m,
        "uncounted_ops": list(subject.cost.uncounted_ops),
        "weights_mib": _weights_mib(subject.built, bytes_per_value=BYTES[converted.precision]),
        "nodes": converted.nodes,
        "compute_nodes": converted.compute_nodes,
        "float_nodes": converted.float_nodes,
        "file_bytes": file_bytes(converted.file),
    } | _counted(subject.built, subject.cost)


def _counted(built: BuiltModel, cost: ComputeCost) -> dict[str, Any]:
    """Return the counted facts: no FLOPs if an operator is uncounted, no side length if the input is not an image."""
    facts: dict[str, Any] = {} if built.input_size is None else {"input_size": built.input_size}
    if not cost.is_complete:
        return facts
    facts |= {"gmacs": cost.gmacs, "activations_m": cost.activations_m, "flops_source": "counted"}
    return facts | (asdict(cost.sparsity) if cost.sparsity is not None else {})


def _weights_mib(built: BuiltModel, *, bytes_per_value: int) -> float:
    """Return the size of parameters and buffers in the precision that runs."""
    values = [*built.module.parameters(), *built.module.buffers()]
    return sum(v.numel() * (bytes_per_value if v.is_floating_point() else v.element_size()) for v in values) / 2**20


_PREPARE = {"pt2": program_file.prepare, "live": live_file.prepare}
"""Sources that are a file; the others are built from a recipe."""
