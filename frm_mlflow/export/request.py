"""The request for an export, and the key under which its result is cached."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from frm_mlflow.config import FILE_SOURCES, ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.export import process
from frm_mlflow.export.cache import sha256
from frm_mlflow.export.check import find_factory
from frm_mlflow.export.support import exported_as, versions
from frm_mlflow.records import content_hash
from frm_mlflow.zoo.inputs import specs_of

EXPORTER_VERSION = 3
"""Increased whenever an exporter's output for the same request changes; older exports are then replaced."""
QUANTISER_VERSION = 2
"""Increased when a quantiser's settings change; exports in other precisions stay valid."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """One model for one runtime in one precision at one batch size."""

    model: ModelConfig
    runtime: str
    precision: PrecisionConfig
    batch_size: int

    def key(self) -> str:
        """Return the hash of everything that goes into the export, including library versions and the user's files."""
        content = {
            "request": asdict(self) | {"runtime": exported_as(self.runtime)},
            "files": self._files(),
            "versions": versions(self.runtime, self.model.source),
            "exporter": EXPORTER_VERSION,
        }
        if self.precision.name == "int8":
            content["quantiser"] = QUANTISER_VERSION
        return content_hash(content)

    def _files(self) -> dict[str, str]:
        files = {}
        if self.model.source in FILE_SOURCES:
            path = Path(str(self.model.path))
            files["model"] = hash_file(path, setting="model.path")
            files |= _external(path) if self.model.source == "onnx" else {}
        if self.model.source == "target":
            files["target"] = _factory_hash(self.model)
        for spec in specs_of(self.model).values():
            if spec.file is not None:
                files[f"input {spec.name}"] = hash_file(Path(spec.file), setting=f"model.inputs.{spec.name}.file")
        if self.precision.calibration:
            files["calibration"] = hash_file(Path(self.precision.calibration), setting="precision.calibration")
        return files

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ExportRequest:
        """Read a request from its JSON."""
        raw = json.loads(text)
        model, precision = ModelConfig(**raw.pop("model")), PrecisionConfig(**raw.pop("precision"))
        return cls(model=model, precision=precision, **raw)


def hash_file(path: Path, *, setting: str) -> str:
    """Hash a file's content.

    Raises
    ------
    ConfigError
        If there is no file at `path`; `setting` names the setting that refers to it.
    """
    if not path.is_file():
        raise ConfigError(f"{setting}: there is no file '{path}'")
    return sha256(path)


def _factory_hash(model: ModelConfig) -> str:
    """Hash the network that a user's factory builds; a network that cannot be hashed is exported each time."""
    find_factory(str(model.target), setting="model.target")
    content = {"target": model.target, "kwargs": model.kwargs, "seed": model.seed, "example": model.example}
    return process.fingerprint(content) or f"unknown {uuid.uuid4().hex}"


def _external(path: Path) -> dict[str, str]:
    """Hash the files with external data that an ONNX file refers to."""
    from frm_mlflow.export.onnx_file import external_files, load

    try:
        files = external_files(path, load(path))
    except ConfigError:  # not a file that can run: the export rejects it with this reason
        return {}
    return {f"external {location}": sha256(file) for location, file in files.items()}
