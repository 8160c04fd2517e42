"""What an exporter hands to a worker: a directory with `artefact.json` beside the model's files.

The worker package is self-contained (standard library, numpy and one runtime), because it is
also shipped alone to boards: nothing here imports the rest of frm_mlflow.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MANIFEST_NAME = "artefact.json"
REFERENCE_NAME = "reference.npz"
"""Arrays `input_0`, `input_1`, ... and `output_0`, ...: a fixed input batch, the torch reference's float32 outputs."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (with the batch) and numpy dtype of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Artefact:
    """A model in a runtime's own format, ready to be loaded by a worker.

    `loader` holds what the runtime's session needs beyond the file (a torch recipe's factory
    and arguments, say). `facts` holds what the exporter found out (node counts, float nodes
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
    def read(cls, directory: Path) -> Artefact:
        """Read the manifest of the artefact in `directory`."""
        raw = json.loads((directory / MANIFEST_NAME).read_text())
        for key in ("inputs", "outputs"):
            raw[key] = tuple(TensorSpec(s["name"], tuple(s["shape"]), s["dtype"]) for s in raw[key])
        return cls(**raw)
