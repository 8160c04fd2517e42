"""One of the two that take turns: a worker with its model loaded, and its blocks so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frm_mlflow.config import MeasureConfig, RuntimeConfig
from frm_mlflow.devices import Device
from frm_mlflow.devices.client import Worker
from frm_mlflow.measure.result import SAMPLE_COLUMNS, Identity
from frm_mlflow.measure.tolerance import check_identity
from frm_mlflow.worker.manifest import Artefact

Floats = NDArray[np.float64]

_SETTLED_BLOCK = 3
"""From this many runs on, a block starts with one call that is not timed: it finds cold caches."""


@dataclass
class Participant:
    """A worker in the role of the model or of the baseline."""

    role: str
    worker: Worker
    artefact: Path
    timeout_s: float
    runs: int = 1
    """Timed runs in a block, the same in every block."""
    loaded: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.manifest = Artefact.read(self.artefact)

    def load(self, *, device: Device, runtime: RuntimeConfig, threads: int) -> None:
        """Load the artefact in the worker."""
        self.loaded = self._ask(
            "load",
            artefact=str(self.artefact.resolve()),
            runtime=runtime.name,
            threads=threads,
            options=dict(runtime.options),
            device=device.kind,
            index=device.index,
        )

    def verify(self) -> Identity:
        """Compare the outputs with the reference; raise `IdentityError` past the tolerance."""
        reply = self._ask("verify")
        identity = Identity(reply["cosine"], reply["max_abs_error"], reply["max_rel_error"])
        check_identity(identity, finite=reply["finite"], model=self.manifest.model, precision=self.manifest.precision)
        return identity

    def warm_up(self, config: MeasureConfig) -> None:
        """Warm up until the call's time has settled."""
        self.warmed = self._ask(
            "warm_up",
            runs=config.warm_up_runs,
            seconds=config.warm_up_seconds,
            agreement=config.warm_up_agreement,
            max_seconds=config.warm_up_max_seconds,
        )

    def block(self) -> None:
        """Time one more block."""
        settle = 1 if self.runs >= _SETTLED_BLOCK else 0
        self.blocks.append(self.timed_block(runs=self.runs, settle=settle))

    def timed_block(self, *, runs: int, settle: int) -> dict[str, Any]:
        """Time calls that are not one of the benchmark's blocks."""
        return self._ask("run_block", runs=runs, settle=settle)

    def energy(self, seconds: float) -> dict[str, Any]:
        """Meter the energy of calls over a window; `meter` is None where there is none."""
        return self._ask("energy", seconds=seconds)

    def memory(self) -> dict[str, Any]:
        """Ask for the peaks since loading."""
        return self._ask("memory")

    @property
    def samples(self) -> int:
        """Timed runs so far."""
        return len(self.blocks) * self.runs

    def times(self, clock: str) -> Floats:
        """Return `wall_ns`, `cpu_ns` or `device_ns` of all blocks, shape (blocks, runs); NaN where null."""
        rows = [block[clock] if block[clock] is not None else [math.nan] * self.runs for block in self.blocks]
        return np.array(rows, dtype=np.float64)

    def block_medians(self) -> Floats:
        """Return the median wall time of each block in nanoseconds."""
        return np.asarray(np.median(self.times("wall_ns"), axis=1))

    def table(self) -> pd.DataFrame:
        """Return every timed run, one row each."""
        block, index = np.divmod(np.arange(self.samples), self.runs)
        times = {clock: self.times(clock).ravel() for clock in ("wall_ns", "cpu_ns", "device_ns")}
        frame = pd.DataFrame({"role": self.role, "block": block, "index": index} | times)
        return frame.astype({"wall_ns": "int64", "cpu_ns": "int64"})[list(SAMPLE_COLUMNS)]

    def _ask(self, command: str, **fields: Any) -> dict[str, Any]:
        return self.worker.request(command, timeout_s=self.timeout_s, **fields)
