"""One of the two models that alternate: its worker, restarted for each launch, and its blocks so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frm_mlflow.config import MeasureConfig, RuntimeConfig
from frm_mlflow.devices import Device, placement
from frm_mlflow.devices.client import Worker
from frm_mlflow.devices.placement import Placed, worker_target
from frm_mlflow.measure.blocks import runs_in_block, settling_runs
from frm_mlflow.measure.result import SAMPLE_COLUMNS, Identity
from frm_mlflow.measure.tolerance import check_identity
from frm_mlflow.worker.manifest import ExportedModel

Floats = NDArray[np.float64]
TF32 = "tf32"

_LATER_WARM_UP = 0.2
"""Share of the warm-up that later launches get: the first one has shown how long calls take to settle."""


@dataclass
class Launch:
    """One worker process: what it reported when it loaded and warmed up, its blocks and its memory."""

    worker: Worker
    loaded: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass
class Participant:
    """The model or the baseline, over all launches of its worker."""

    role: str
    exported_model: Path
    timeout_s: float
    runs: int = 1
    """Timed runs per block, the same in every block."""
    precision: str = ""
    """The requested precision; empty means that of the exported model."""
    settle: int = 0
    """Untimed calls before each block."""
    launches: list[Launch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.manifest = ExportedModel.read(self.exported_model)
        self.placed: Placed | None = None

    @property
    def now(self) -> Launch:
        """The current launch, or the last one."""
        return self.launches[-1]

    def launch(self, worker: Worker) -> None:
        """Begin a launch with a worker that was just started."""
        self.launches.append(Launch(worker))

    def load(self, *, device: Device, runtime: RuntimeConfig, threads: int) -> None:
        """Load the exported model in the worker; raise `DeviceMismatchError` if it does not run on the device."""
        self.now.loaded = self._ask(
            "load",
            exported_model=str(self.exported_model.resolve()),
            **worker_target(device, runtime, threads=threads, precision=self.precision),
        )
        expected = self.precision if self.precision == TF32 else self.manifest.precision
        self.placed = placement.check(device, runtime, self.now.loaded, precision=expected)

    def verify(self) -> Identity:
        """Compare the outputs with the reference; raise `IdentityError` if the tolerance is exceeded."""
        reply = self._ask("verify")
        identity = Identity(reply["cosine"], reply["max_abs_error"], reply["max_rel_error"])
        ran = str(self.now.loaded["precision"])
        check_identity(identity, finite=reply["finite"], model=self.manifest.model, precision=ran)
        return identity

    def warm_up(self, config: MeasureConfig) -> None:
        """Warm up until the call time has settled; only briefly if an earlier launch was fully warmed up."""
        share = 1.0 if len(self.launches) == 1 else _LATER_WARM_UP
        self.now.warmed = self._ask(
            "warm_up",
            runs=math.ceil(config.warm_up_runs * share),
            seconds=config.warm_up_seconds * share,
            agreement=config.warm_up_agreement,
            max_seconds=config.warm_up_max_seconds,
        )

    def plan_blocks(self, config: MeasureConfig) -> None:
        """Set the length of every block from the call time found during warm-up."""
        median_s = self.now.warmed["median_ns"] / 1e9
        self.runs = runs_in_block(median_s, runs=config.runs, block_seconds=config.block_seconds)
        self.settle = settling_runs(median_s, runs=self.runs)

    def block(self) -> None:
        """Time one more block."""
        self.now.blocks.append(self.timed_block(runs=self.runs, settle=self.settle))

    def timed_block(self, *, runs: int, settle: int) -> dict[str, Any]:
        """Time calls that do not belong to the benchmark's blocks."""
        return self._ask("run_block", runs=runs, settle=settle)

    def energy(self, seconds: float) -> dict[str, Any]:
        """Measure the energy of calls over a window; `meter` is None if there is no meter."""
        return self._ask("energy", seconds=seconds)

    def read_memory(self) -> None:
        """Read this launch's memory peaks since loading."""
        self.now.memory = self._ask("memory")

    @property
    def samples(self) -> int:
        """Number of timed runs so far, over all launches."""
        return sum(len(launch.blocks) for launch in self.launches) * self.runs

    @property
    def settled(self) -> bool:
        """Whether every launch settled within its warm-up time."""
        return all(launch.warmed["settled"] for launch in self.launches)

    def memory(self) -> dict[str, Any]:
        """Return the median of each memory value over the launches; None if no meter reported it."""
        replies = [launch.memory for launch in self.launches]
        return {key: _median(key, replies) for key in replies[-1]}

    def times(self, clock: str) -> Floats:
        """Return `wall_ns`, `cpu_ns` or `device_ns` of all blocks, shape (blocks, runs); NaN where null."""
        return np.concatenate(self.by_launch(clock))

    def by_launch(self, clock: str) -> list[Floats]:
        """Return `times` for each launch."""
        return [self._times(launch, clock) for launch in self.launches]

    def readings(self) -> list[dict[str, float]]:
        """Return the accelerator's readings during all timed blocks; empty on a CPU."""
        return [reading for launch in self.launches for block in launch.blocks for reading in block["readings"] or ()]

    def block_medians(self) -> Floats:
        """Return the median wall time of each block in nanoseconds."""
        return np.asarray(np.median(self.times("wall_ns"), axis=1))

    def table(self) -> pd.DataFrame:
        """Return every timed run, one row each."""
        block, index = np.divmod(np.arange(self.samples), self.runs)
        launch = np.repeat(np.arange(len(self.launches)), [len(each.blocks) for each in self.launches])
        times = {clock: self.times(clock).ravel() for clock in ("wall_ns", "cpu_ns", "device_ns")}
        frame = pd.DataFrame({"role": self.role, "launch": launch[block], "block": block, "index": index} | times)
        return frame.astype({"wall_ns": "int64", "cpu_ns": "int64"})[list(SAMPLE_COLUMNS)]

    def _times(self, launch: Launch, clock: str) -> Floats:
        rows = [block[clock] if block[clock] is not None else [math.nan] * self.runs for block in launch.blocks]
        return np.array(rows, dtype=np.float64).reshape(-1, self.runs)

    def _ask(self, command: str, **fields: Any) -> dict[str, Any]:
        return self.now.worker.request(command, timeout_s=self.timeout_s, **fields)


def _median(key: str, replies: list[dict[str, Any]]) -> Any:
    values = [reply[key] for reply in replies]
    return float(np.median(values)) if all(isinstance(value, int | float) for value in values) else values[-1]
