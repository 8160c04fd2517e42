"""torch.export: a graph of ATen operators that torch runs one by one without the model's Python code."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch.export.passes import move_to_device_pass

from ..manifest import Artefact
from .torch_eager import TorchSession


class TorchExportSession(TorchSession):
    """Loads a `.pt2` archive; inputs, calls and clocks are the same as in eager PyTorch."""

    def warm_loading(self, artefact: Artefact) -> None:
        """Export, save, load and run one operator, since the first call loads the graph importers."""
        self._artefact = artefact
        file = io.BytesIO()
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), file)
        file.seek(0)
        torch.export.load(file).module()(torch.zeros(1, 2))

    def load(self, directory: Path, artefact: Artefact) -> None:
        """Load the graph with its weights onto the device."""
        self._artefact = artefact
        program = torch.export.load(directory / artefact.file)
        if self._device.type != "cpu":
            program = move_to_device_pass(program, self._device)
        self._call = program.module()
