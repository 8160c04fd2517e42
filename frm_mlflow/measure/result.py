"""What measuring one model beside the baseline gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from frm_mlflow.devices.placement import Placed

MODEL = "model"
BASELINE = "baseline"
SHOT_COLUMNS = ("role", "shot", "runs", "latency_ms", "mean_ms", "memory_mib")
"""What a phone's program tells of each of its runs: statistics, no samples."""
SAMPLE_COLUMNS = ("role", "launch", "block", "index", "wall_ns", "cpu_ns", "device_ns")


@dataclass(frozen=True, slots=True)
class Identity:
    """Agreement of an artefact's outputs with the torch reference on the same input."""

    cosine: float
    max_abs_error: float
    max_rel_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One benchmark: the model's metrics, the baseline's in the same window, and every sample."""

    metrics: Mapping[str, float]
    """By `schema.Metric.key`: latency, memory, throughput for a batch, energy where a meter is, ratios."""
    baseline_metrics: Mapping[str, float]
    """The baseline's own, without ratios; empty where the model was measured alone."""
    samples: pd.DataFrame
    """Columns `SAMPLE_COLUMNS`; `device_ns` is NaN without the accelerator's events. Of a phone: `SHOT_COLUMNS`."""
    unstable: tuple[str, ...]
    """Why the ratio to the baseline is uncertain."""
    versions: Mapping[str, str]
    identity: Identity
    """Of a phone, whose programs do not show their outputs: of the same file on this machine."""
    remarks: tuple[str, ...] = ()
    """What disturbed the milliseconds, which the ratio cancels."""
    baseline_identity: Identity | None = None
    latency_statistic: str = "p50"
    """What the latency metric is: mean where a phone's program prints no median."""
    layers: str = ""
    """Nodes by the compute unit that ran them, where a phone's program tells: cpu=1 gpu=65."""
    memory_definition: str = ""
    energy_meter: str = ""
    """The counter that the energy comes from; empty where there is no meter."""
    sustained: pd.DataFrame | None = None
    """The series of `sustained.Sustained`, where that mode was asked for."""
    placed: Placed | None = None
    """Where the model ran and in which precision, by its worker's report; None of a phone."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Threads, providers, warm-up, seconds a phase took, the machine's condition before and after."""

    @property
    def runtime_version(self) -> str:
        """Version of the runtime itself: the first that the session names."""
        return next(iter(self.versions.values()), "")
