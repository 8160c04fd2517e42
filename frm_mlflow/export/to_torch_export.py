"""Export with torch.export: the network's ATen graph with its weights, run by torch without the network's code."""

from __future__ import annotations

from pathlib import Path

import torch

from frm_mlflow.export.subject import Converted, Subject, in_torch


def convert(subject: Subject, directory: Path) -> Converted:
    """Write the network as `torch.export` traces it on the reference's inputs."""
    file = directory / "model.pt2"
    inputs = tuple(torch.from_numpy(array) for array in subject.inputs)
    with torch.no_grad():
        torch.export.save(torch.export.export(subject.built.module, inputs), file)
    return in_torch(subject, file)
