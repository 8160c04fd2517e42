"""Eager torch (and torch.compile): a recipe and a state dict, never a pickled module."""

from __future__ import annotations

from pathlib import Path

import torch

from frm_mlflow.errors import ExportError
from frm_mlflow.export.subject import Converted, Subject, in_torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def convert(subject: Subject, directory: Path) -> Converted:
    """Write the network's state dict in the precision asked for; the loader repeats the recipe."""
    file = directory / "weights.pt"
    dtype = DTYPES[subject.precision.name]
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in subject.built.module.state_dict().items()}
    torch.save(state, file)
    name = str(dtype).removeprefix("torch.")
    recipe = subject.built.recipe
    if recipe is None:
        raise ExportError(f"'{subject.built.name}' is a graph without code: choose runtime=torch_export")
    return in_torch(subject, file, loader={"target": recipe.target, "kwargs": recipe.kwargs, "dtype": name})
