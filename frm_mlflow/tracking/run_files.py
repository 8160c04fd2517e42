"""The files and the params that are logged with a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from frm_mlflow import redact

SAMPLES_FILE = "samples.parquet"
ENVIRONMENT_FILE = "environment.json"
CONFIG_FILE = "config.yaml"
OUTPUT_FILE = "worker.log"


@dataclass(frozen=True)
class RunFiles:
    """Artifacts of one run; those that are None or empty are not written.

    `samples` holds every timed sample, `environment` the machine and library versions, `config` the
    resolved Hydra config as YAML, and `texts` further files by name. No secrets are written to any of them.
    """

    samples: pd.DataFrame | None = None
    environment: Mapping[str, object] | None = None
    config: str | None = None
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def write(self, folder: Path) -> None:
        """Write the files into the existing folder `folder`."""
        if self.samples is not None:
            self.samples.to_parquet(folder / SAMPLES_FILE, index=False)
        if self.environment is not None:
            text = json.dumps(redact.settings(self.environment), indent=2, sort_keys=True, default=str)
            (folder / ENVIRONMENT_FILE).write_text(text, encoding="utf-8")
        if self.config is not None:
            (folder / CONFIG_FILE).write_text(redact.text(self.config), encoding="utf-8")
        for name, text in self.texts.items():
            (folder / name).write_text(redact.file(name, text), encoding="utf-8")


NO_FILES = RunFiles()


def flat_params(config: Mapping[str, object], *, prefix: str = "") -> dict[str, str]:
    """Return a nested config as MLflow params, `{"measure": {"runs": 100}}` as `{"measure.runs": "100"}`.

    Lists are numbered (`models.0`); an empty list or mapping is kept as `[]` or `{}`.
    """
    return dict(_leaves(config, prefix)) if config else {}


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    children: list[tuple[object, object]] = []
    if isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, (list, tuple)):
        children = list(enumerate(value))
    if not children:
        yield path, str(value)
    for key, child in children:
        yield from _leaves(child, f"{path}.{key}" if path else str(key))
