"""A `.pt2` file (`torch.export.save`), from the user or a captured live module, measured on its example inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from frm_mlflow.errors import ConfigError
from frm_mlflow.export.flat import Flat, with_batch
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.subject import Subject, as_reference, tensor_dtype
from frm_mlflow.worker.manifest import TensorSpec
from frm_mlflow.zoo.build import BuiltModel
from frm_mlflow.zoo.flops import ComputeCost, count_module
from frm_mlflow.zoo.sparsity import count_sparsity


def prepare(request: ExportRequest) -> Subject:
    """Load the graph, run the reference on its example inputs and count it.

    Raises
    ------
    ConfigError
        If the file is not an exported program, has no example inputs or cannot run at the requested
    batch size.
    """
    module = load(Path(str(request.model.path)))
    inputs = with_batch(module.example, request.batch_size)
    try:
        with torch.inference_mode():
            outputs = module(*inputs)
    except Exception as error:  # the program's operators and assertions raise their own types
        raise ConfigError(
            f"'{request.model.path}' cannot run with batch_size={request.batch_size}: {' '.join(str(error).split())}. "
            "A program takes the batch that it was exported with, unless that axis was exported as dynamic."
        ) from error
    specs = tuple(TensorSpec(f"input_{i}", tuple(t.shape), tensor_dtype(t)) for i, t in enumerate(inputs))
    return Subject(
        built=BuiltModel(name=request.model.name, module=module, recipe=None, inputs=specs, weights="own"),
        inputs=tuple(t.numpy() for t in inputs),
        outputs=tuple(as_reference(t) for t in outputs),
        cost=_cost(module, inputs, batch_size=request.batch_size),
        precision=request.precision,
    )


def _cost(module: Flat, inputs: tuple[Tensor, ...], *, batch_size: int) -> ComputeCost:
    """Count one sample twice: dense, and without the operations that zero weights make unnecessary."""
    cost = count_module(module, inputs, batch_size=batch_size)
    graph = module.module
    if not isinstance(graph, torch.fx.GraphModule) or not module.is_positional:
        return cost
    sparsity = count_sparsity(graph, inputs)
    if sparsity is not None:
        sparsity = replace(sparsity, effective_gmacs=sparsity.effective_gmacs / batch_size)
    return replace(cost, sparsity=sparsity)


def load(path: Path) -> Flat:
    """Return the program in `path` as a module, with its example inputs.

    Raises
    ------
    ConfigError
        If the file is not an exported program or has no example inputs.
    """
    try:
        program = torch.export.load(path)
    except Exception as error:  # any file may be given, and torch checks none of its content
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"model.path: '{path}' is not a file of torch.export.save: {reason}") from error
    if program.example_inputs is None:
        raise ConfigError(f"model.path: '{path}' was saved without example inputs: export and save it again")
    args, kwargs = program.example_inputs
    return Flat(program.module(), args, kwargs)
