"""torch.export: a graph of ATen operators that torch runs one by one without the model's Python code."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch.export.passes import move_to_device_pass

from ..manifest import ExportedModel
from .torch_eager import TorchSession


class TorchExportSession(TorchSession):
    """Loads a `.pt2` archive; inputs, calls and clocks are the same as in eager PyTorch."""

    def warm_loading(self, exported_model: ExportedModel) -> None:
        """Export, save, load and run one operator, since the first call loads the graph importers."""
        self._exported_model = exported_model
        file = io.BytesIO()
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), file)
        file.seek(0)
        torch.export.load(file).module()(torch.zeros(1, 2))

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Load the graph with its weights onto the device."""
        self._exported_model = exported_model
        program = torch.export.load(directory / exported_model.file)
        if self._device.type != "cpu":
            program = move_to_device_pass(program, self._device)
        self._call = program.module()
