"""Export to eager torch (and torch.compile): a recipe and a state dict, never a pickled module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from frm_mlflow.errors import ExportError
from frm_mlflow.export import live_file
from frm_mlflow.export.flat import Flat
from frm_mlflow.export.subject import Converted, Subject, in_torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def convert(subject: Subject, directory: Path) -> Converted:
    """Write the network's state dict in the requested precision; the loader repeats the recipe."""
    dtype = DTYPES[subject.precision.name]
    recipe = subject.built.recipe
    loader: dict[str, Any] = {"dtype": str(dtype).removeprefix("torch.")}
    if subject.call is not None:
        loader["call"] = subject.call
    module = subject.built.module.module if isinstance(subject.built.module, Flat) else subject.built.module
    if subject.pickled is not None:
        return in_torch(subject, live_file.place(subject.pickled, directory), loader=loader)
    if recipe is None:
        raise ExportError(f"'{subject.built.name}' is a graph without code: choose runtime=torch_export")
    file = directory / "weights.pt"
    state = module.state_dict()  # not rebuilt: its metadata records how quantised layers are stored
    for name, value in state.items():
        state[name] = _cast(value, dtype)
    torch.save(state, file)
    return in_torch(subject, file, loader=loader | {"target": recipe.target, "kwargs": recipe.kwargs})


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Return a state value in the precision; anything but a tensor (packed weights) stays as it is."""
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
