"""What an export is asked for, and the key under which its artefact is cached."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from frm_mlflow.config import FILE_SOURCES, ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.export.cache import sha256
from frm_mlflow.export.support import support_of, versions
from frm_mlflow.records import content_hash

EXPORTER_VERSION = 2
"""Raised whenever an exporter writes something else for the same request; old artefacts are then made anew."""
QUANTISER_VERSION = 2
"""Raised where a quantiser's settings change; artefacts of other precisions stay valid."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """One model for one runtime in one precision at one batch size."""

    model: ModelConfig
    runtime: str
    precision: PrecisionConfig
    batch_size: int

    def key(self) -> str:
        """Content hash of all that goes into the artefact, library versions and the user's files included."""
        content = {
            "request": asdict(self) | {"runtime": support_of(self.runtime).artefact or self.runtime},
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
            files["model"] = hash_file(Path(str(self.model.path)), setting="model.path")
        if self.model.source == "target":
            files["target"] = _hash_module(str(self.model.target))
        if self.precision.calibration:
            files["calibration"] = hash_file(Path(self.precision.calibration), setting="precision.calibration")
        return files

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ExportRequest:
        """Read a request back."""
        raw = json.loads(text)
        model, precision = ModelConfig(**raw.pop("model")), PrecisionConfig(**raw.pop("precision"))
        return cls(model=model, precision=precision, **raw)


def hash_file(path: Path, *, setting: str) -> str:
    """Hash a file's content.

    Raises
    ------
    ConfigError
        Where there is no file at `path`; `setting` names who asked for it.
    """
    if not path.is_file():
        raise ConfigError(f"{setting}: there is no file '{path}'")
    return sha256(path)


def _hash_module(target: str) -> str:
    """Hash the Python files beside a user's module, so that an edited network is exported anew."""
    module = target.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except ImportError as error:
        raise ConfigError(f"model.target={target}: '{module}' cannot be imported: {error}") from error
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise ConfigError(f"model.target={target}: there is no module '{module}' on the Python path")
    digest = hashlib.sha256()
    for path in sorted(Path(spec.origin).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
