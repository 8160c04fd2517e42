"""torch.compile: the eager recipe through TorchInductor."""

from __future__ import annotations

from typing import Any

import torch

from ..manifest import Artefact
from .torch_eager import TorchSession


class TorchCompileSession(TorchSession):
    """Compiles at the first call, for the artefact's static shapes."""

    def warm(self, artefact: Artefact) -> None:
        """Compile and run a small network, so that the compiler's own code is in the memory base."""
        super().warm(artefact)
        small = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval().to(self._device)
        with torch.inference_mode():
            self.compiled(small)(torch.randn(1, 3, 8, 8, device=self._device))
        self.synchronise()

    def compiled(self, module: torch.nn.Module) -> Any:
        """Wrap the module in `torch.compile` with the configured backend and mode."""
        options = self.target.options
        backend, mode = options.get("backend", "inductor"), options.get("mode")
        return torch.compile(module, backend=backend, mode=mode, dynamic=False)

    def facts(self) -> dict[str, Any]:
        """Add the backend and mode."""
        options = self.target.options
        return super().facts() | {"backend": options.get("backend", "inductor"), "mode": options.get("mode")}
