"""ExecuTorch (PyTorch Mobile's successor), with the backend that the program was lowered to."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Method, Runtime

from ..manifest import ExportedModel
from .base import Array, Placement, Session, SessionError, Target, as_specified
from .torch_common import to_numpy


class ExecuTorchSession(Session):
    """The program's `forward` method with its inputs as tensors."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        if target.kind != "cpu":
            raise SessionError("executorch runs on the CPU here: choose device=cpu", kind="provider")
        torch.set_num_threads(target.threads)
        portable_lib._unsafe_reset_threadpool(target.threads)

    def start(self) -> None:
        """Start the runtime, which registers its kernels and backends."""
        self._runtime = Runtime.get()

    def load(self, directory: Path, exported_model: ExportedModel) -> None:
        """Load the `.pte` program and initialise its method and delegates."""
        self._exported_model = exported_model
        self._program = self._runtime.load_program(directory / exported_model.file)
        method = self._program.load_method("forward")
        if method is None:
            raise SessionError(f"{exported_model.file} has no method 'forward'", kind="load")
        self._method: Method = method

    def prepare(self, inputs: Sequence[Array]) -> None:
        """Convert the inputs to tensors."""
        self._inputs = [torch.from_numpy(a.copy()) for a in as_specified(inputs, self._exported_model)]

    def run(self) -> None:
        """Execute the method once."""
        self._outputs = self._method.execute(self._inputs)

    def outputs(self) -> list[Array]:
        """Return the last execution's outputs."""
        return [array.copy() for array in to_numpy(self._outputs)]

    def versions(self) -> dict[str, str]:
        """Return ExecuTorch's version."""
        return {"executorch": metadata.version("executorch")}

    def placement(self) -> Placement:
        """Return the registered backends, all of which run on the CPU here."""
        return Placement("cpu", "cpu", ", ".join(self._runtime.backend_registry.registered_backend_names))

    def facts(self) -> dict[str, Any]:
        """Return the registered backends and the size of the thread pool."""
        return {
            "providers": list(self._runtime.backend_registry.registered_backend_names),
            "threads": portable_lib._threadpool_get_thread_count(),
        }
