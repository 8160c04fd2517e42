"""TorchScript: a frozen graph that does not need the model's Python code."""

from __future__ import annotations

from pathlib import Path

import torch

from ..manifest import ExportedModel
from .torch_common import DTYPES
from .torch_eager import TorchSession


class TorchScriptSession(TorchSession):
    """Loads a `torch.jit` archive; inputs, calls and clocks are the same as in eager PyTorch."""

    def warm_loading(self, exported_model: ExportedModel) -> None:
        """Script and run one operator, since the first call initialises the fuser and the profiler."""
        self._exported_model = exported_model
        traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1))  # type: ignore[no-untyped-call]
        traced(torch.zeros(1))

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Load the archive onto the device."""
        self._exported_model = exported_model
        self._dtype = DTYPES[exported_model.loader.get("dtype", "float32")]
        archive = str(directory / exported_model.file)
        self._call = torch.jit.load(archive, map_location=self._device).eval()  # type: ignore[no-untyped-call]
