"""Make an artefact: build the network, take its reference outputs, convert it, check it and describe it."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from frm_mlflow.errors import ExportError
from frm_mlflow.export import program_file
from frm_mlflow.export.reference import write_reference
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.subject import Converted, Subject
from frm_mlflow.export.support import support_of, versions
from frm_mlflow.worker.manifest import Artefact
from frm_mlflow.zoo.build import BuiltModel, build
from frm_mlflow.zoo.catalogue import architecture_of, family_of
from frm_mlflow.zoo.fit import flatten
from frm_mlflow.zoo.flops import count
from frm_mlflow.zoo.recipe import recipe_for
from frm_mlflow.zoo.samples import REFERENCE_SEED

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
KEPT_SHARE = 0.9
"""Share of the network's weights and compute operators that an artefact must hold; less means removed branches."""


def pack(request: ExportRequest, directory: Path) -> None:
    """Fill `directory` with the artefact that `request` asks for.

    Raises
    ------
    ConfigError, ModelError
        Where the network cannot be built.
    ExportError
        Where the converter refuses it or removed part of it.
    """
    support = support_of(request.runtime)
    exporter = importlib.import_module(f"frm_mlflow.export.{support.exporter}")
    if request.model.source == "onnx":
        if not hasattr(exporter, "pack_file"):
            raise ExportError(f"{request.runtime} takes no .onnx file; onnxruntime does")
        artefact = exporter.pack_file(request, directory)
    else:
        subject = program_file.prepare(request) if request.model.source == "pt2" else prepare(request)
        converted: Converted = exporter.convert(subject, directory)
        check_whole(subject, converted)
        artefact = _describe(request, subject, converted)
        write_reference(directory, subject.inputs, subject.outputs)
    artefact.write(directory)


def prepare(request: ExportRequest) -> Subject:
    """Build the network and run the reference: eager torch in float32 on one fixed input."""
    built = build(request.model, batch_size=request.batch_size)
    example = built.example(seed=REFERENCE_SEED)
    with torch.inference_mode():
        outputs = flatten(built.module(example))
    return Subject(
        built=built,
        inputs=(example.numpy(),),
        outputs=tuple(output.float().numpy() for output in outputs),
        cost=count(recipe_for(request.model)),
        precision=request.precision,
        runtime=request.runtime,
    )


def check_whole(subject: Subject, converted: Converted) -> None:
    """Refuse an artefact that lacks weights or operators of the network.

    Raises
    ------
    ExportError
        Where the file or its graph is smaller than the network can be in its precision.
    """
    weights = subject.cost.params_m * 1e6 * BYTES[converted.precision]
    size = file_bytes(converted.file)
    if size < KEPT_SHARE * weights:
        raise ExportError(
            f"the converter removed part of '{subject.built.name}': its file has {size:,} bytes, "
            f"its parameters in {converted.precision} take {weights:,.0f}"
        )
    if converted.compute_nodes < KEPT_SHARE * subject.cost.compute_ops:
        raise ExportError(
            f"the converter removed part of '{subject.built.name}': {converted.compute_nodes} convolutions and matrix "
            f"products of {subject.cost.compute_ops} are left"
        )


def file_bytes(file: Path) -> int:
    """Bytes of a model's file and of those that carry its weights beside it (same stem)."""
    return sum(path.stat().st_size for path in file.parent.glob(f"{file.stem}.*"))


def _describe(request: ExportRequest, subject: Subject, converted: Converted) -> Artefact:
    return Artefact(
        model=request.model.name,
        runtime=support_of(request.runtime).artefact or request.runtime,
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
        "input_size": subject.built.input_size,
        "weights": subject.built.weights,
        "gmacs": subject.cost.gmacs,
        "params_m": subject.cost.params_m,
        "activations_m": subject.cost.activations_m,
        "uncounted_ops": list(subject.cost.uncounted_ops),
        "flops_source": "counted",
        "weights_mib": _weights_mib(subject.built, bytes_per_value=BYTES[converted.precision]),
        "nodes": converted.nodes,
        "compute_nodes": converted.compute_nodes,
        "float_nodes": converted.float_nodes,
        "file_bytes": file_bytes(converted.file),
    } | (asdict(subject.cost.sparsity) if subject.cost.sparsity is not None else {})


def _weights_mib(built: BuiltModel, *, bytes_per_value: int) -> float:
    """Size of parameters and buffers in the precision that runs."""
    values = [*built.module.parameters(), *built.module.buffers()]
    return sum(v.numel() * (bytes_per_value if v.is_floating_point() else v.element_size()) for v in values) / 2**20
