"""torch.compile: the eager recipe through TorchInductor."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..identity import numbered_arrays
from ..manifest import REFERENCE_NAME, ExportedModel
from ..parent import PARENT_VARIABLE, die_with_parent
from ..start import environment, python_command
from .base import Target
from .torch_eager import TorchSession

INDUCTOR = "inductor"
_GRAPH_MODES = ("reduce-overhead", "max-autotune")


class TorchCompileSession(TorchSession):
    """Compiles at the first call, for the static shapes of the exported model.

    Memory that the compiler leaves on the heap would count as the model's memory, but only if nothing was
    compiled before. Therefore another process fills TorchInductor's cache first.
    """

    def start(self) -> None:
        """Compile and run a small network, so that the compiler's code is part of the base memory."""
        super().start()
        small = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval().to(self._device)
        with torch.inference_mode():
            self.compiled(small)(torch.randn(1, 3, 8, 8, device=self._device))
        self.synchronise()

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Load the recipe, after compiling it in another process if that was not done yet."""
        if self._backend == INDUCTOR and not (marker := _marker(directory, self.target)).exists():
            command = python_command(__name__, str(directory), json.dumps(asdict(self.target)))
            surroundings = environment(os.environ, {PARENT_VARIABLE: str(os.getpid())})
            started = time.perf_counter()
            done = subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=2, check=False)
            self.once_seconds = time.perf_counter() - started
            if done.returncode == 0:  # else this process hits the same error and reports it
                marker.touch()
        super().load(directory, exported_model)

    def compiled(self, module: torch.nn.Module) -> Any:
        """Wrap the module in `torch.compile` with the configured backend and mode."""
        return torch.compile(module, backend=self._backend, mode=self.target.options.get("mode"), dynamic=False)

    def facts(self) -> dict[str, Any]:
        """Add the backend and mode, and whether that mode captures CUDA graphs."""
        mode = self.target.options.get("mode")
        facts = super().facts() | {"backend": self._backend, "mode": mode}
        return facts | ({"cuda_graph": mode in _GRAPH_MODES} if self._device.type == "cuda" else {})

    @property
    def _backend(self) -> str:
        return str(self.target.options.get("backend", INDUCTOR))


def _marker(directory: Path, target: Target) -> Path:
    """Return the file in TorchInductor's cache that marks this exported model as compiled for this target."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    facts = [str(directory.resolve()), torch.__version__, asdict(target)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return Path(cache_dir()) / f"frm-compiled-{digest[:16]}"


def main() -> None:
    """Compile the exported model and call it once to fill the cache: `python -m ... DIRECTORY TARGET`."""
    die_with_parent()
    directory, target = Path(sys.argv[1]), Target(**json.loads(sys.argv[2]))
    session = TorchCompileSession(target)
    TorchSession.load(session, directory, ExportedModel.read(directory))
    session.prepare(numbered_arrays(directory / REFERENCE_NAME, "input_"))
    session.run()
    session.synchronise()


if __name__ == "__main__":
    main()
