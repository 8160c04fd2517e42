"""What an exporter passes to a worker: a directory with `exported_model.json` next to the model's files.

The worker package is self-contained (standard library, numpy and one runtime), because it is
also copied to boards on its own. Nothing here imports the rest of frm_mlflow.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MANIFEST_NAME = "exported_model.json"
REFERENCE_NAME = "reference.npz"
"""File with `input_0`, ... and `output_0`, ...: a fixed input batch and the torch reference's float32 outputs."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (with the batch) and numpy dtype of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ExportedModel:
    """An exported model in a runtime's format, ready to be loaded by a worker.

    `loader` contains what the runtime's session needs besides the file (such as a torch recipe's factory
    and arguments). `facts` contains what the exporter determined (node counts, float nodes
    left in an int8 model, bytes).
    """

    model: str
    runtime: str
    precision: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    loader: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the manifest into `directory`."""
        (directory / MANIFEST_NAME).write_text(json.dumps(asdict(self), indent=2, sort_keys=True))

    @classmethod
    def read(cls, directory: Path) -> ExportedModel:
        """Read the manifest of the exported model in `directory`."""
        raw = json.loads((directory / MANIFEST_NAME).read_text())
        for key in ("inputs", "outputs"):
            raw[key] = tuple(TensorSpec(s["name"], tuple(s["shape"]), s["dtype"]) for s in raw[key])
        return cls(**raw)
