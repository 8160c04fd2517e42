"""A simulated machine with its own clock and workers, instead of real processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from frm_mlflow.errors import WorkerError
from frm_mlflow.worker.manifest import ExportedModel, TensorSpec


@dataclass
class Machine:
    """A machine whose speed changes with time; every call advances its clock."""

    slowness: Callable[[float], float] = lambda seconds: 1.0
    now_ns: int = 0
    log: list[tuple[str, str]] = field(default_factory=list)

    def clock(self) -> int:
        return self.now_ns

    def work(self, nanoseconds: float) -> int:
        took = round(nanoseconds * self.slowness(self.now_ns / 1e9))
        self.now_ns += took
        return took


def placement_on(kind: str) -> dict[str, Any]:
    unit = "gpu" if kind == "cuda" else "cpu"
    return {"kind": kind, "unit": unit, "provider": f"simulated {unit}", "nodes": None}


@dataclass
class SimulatedWorker:
    machine: Machine
    role: str
    latency_ms: float
    noise: float = 0.01
    peak_mib: float = 100.0
    cosine: float = 1.0
    settled: bool = True
    load_seconds: float = 0.0
    once_seconds: float = 0.0
    fails_at: str = ""
    energy_mj: float | None = None
    device_events: bool = False
    placement: dict[str, Any] | None = None
    """The placement that the runtime reports; None means the requested one."""
    readings: list[dict[str, float]] | None = None
    is_closed: bool = False

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(len(self.role))

    def request(self, command: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
        self.machine.log.append((self.role, command))
        if command == self.fails_at:
            raise WorkerError(f"the {self.role} fell over")
        return getattr(self, command)(**fields)

    def load(self, **fields: Any) -> dict[str, Any]:
        self.loaded_with = fields
        first = not any(entry == (self.role, "load") for entry in self.machine.log[:-1])
        once_seconds = self.once_seconds if first else 0.0
        self.machine.work((self.load_seconds + once_seconds) * 1e9)
        return {
            "seconds": 0.1,
            "once_seconds": once_seconds,
            "versions": {"simulator": "3.2", "python": "3"},
            "facts": {"threads": fields["threads"]},
            "base_mib": 50.0,
            "loaded_mib": 60.0,
            "placement": self.placement or placement_on(fields["device"]),
            "precision": fields["precision"] or "fp32",
            "card": None,
        }

    def verify(self) -> dict[str, Any]:
        return {"cosine": self.cosine, "max_abs_error": 1e-6, "max_rel_error": 1e-6, "finite": True}

    def warm_up(self, **fields: Any) -> dict[str, Any]:
        return {"runs": 10, "seconds": 0.5, "settled": self.settled, "first_ns": 1, "median_ns": self.latency_ms * 1e6}

    def run_block(self, *, runs: int, settle: int) -> dict[str, Any]:
        for _ in range(settle):
            self.machine.work(self.latency_ms * 1e6)
        factors = 1 + self.noise * self._rng.standard_normal(runs)
        wall = [self.machine.work(self.latency_ms * 1e6 * factor) for factor in factors]
        device = [0.9 * w for w in wall] if self.device_events else None
        return {"wall_ns": wall, "cpu_ns": wall, "device_ns": device, "readings": self.readings}

    def memory(self) -> dict[str, Any]:
        on_device = self.peak_mib * 2 if self.device_events else None
        definition = "allocator_over_base" if self.device_events else ""
        return {"peak_mib": self.peak_mib, "base_mib": 50.0, "loaded_mib": 60.0, "definition": "rss_peak",
                "device_mib": on_device, "device_peak_mib": on_device, "device_definition": definition}  # fmt: skip

    def energy(self, *, seconds: float) -> dict[str, Any]:
        if self.energy_mj is None:
            return {"meter": None}
        return {
            "millijoules": 50 * self.energy_mj,
            "runs": 50,
            "seconds": seconds,
            "meter": "zeus:rapl",
            "period_ms": 1,
        }

    def close(self) -> None:
        self.is_closed = True


def exported_model(folder: Path, model: str, precision: str = "fp32") -> Path:
    folder.mkdir()
    spec = (TensorSpec("x", (1, 4), "float32"),)
    ExportedModel(model, "torch", precision, "file", spec, spec).write(folder)
    return folder
