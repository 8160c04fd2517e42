"""The result of measuring one model against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from frm_mlflow.devices.placement import Placed

MODEL = "model"
BASELINE = "baseline"
SHOT_COLUMNS = ("role", "shot", "runs", "latency_ms", "mean_ms", "memory_mib")
"""What a phone's program reports for each shot: statistics, no samples."""
SAMPLE_COLUMNS = ("role", "launch", "block", "index", "wall_ns", "cpu_ns", "device_ns")


@dataclass(frozen=True, slots=True)
class Identity:
    """Agreement of an exported model's outputs with the torch reference on the same input."""

    cosine: float
    max_abs_error: float
    max_rel_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One benchmark: the model's metrics, the baseline's metrics from the same session, and every sample."""

    metrics: Mapping[str, float]
    """By `schema.Metric.key`: latency, memory, throughput for a batch, energy if there is a meter, ratios."""
    baseline_metrics: Mapping[str, float]
    """The baseline's metrics, without ratios; empty if the model was measured alone."""
    samples: pd.DataFrame
    """Columns `SAMPLE_COLUMNS`; `device_ns` is NaN without accelerator events. On a phone: `SHOT_COLUMNS`."""
    unstable: tuple[str, ...]
    """Why the ratio to the baseline is uncertain."""
    versions: Mapping[str, str]
    identity: Identity
    """On a phone, whose programs do not return outputs, it is that of the same file on this machine."""
    remarks: tuple[str, ...] = ()
    """What disturbed the measured times; it cancels in the ratio."""
    baseline_identity: Identity | None = None
    latency_statistic: str = "p50"
    """Statistic of the latency metric: mean if a phone's program prints no median."""
    layers: str = ""
    """Nodes by the compute unit that ran them, if a phone's program reports it: cpu=1 gpu=65."""
    memory_definition: str = ""
    energy_meter: str = ""
    """The counter that energy was read from; empty without a meter."""
    sustained: pd.DataFrame | None = None
    """The series of `sustained.Sustained`, if that mode was requested."""
    placed: Placed | None = None
    """Where the model ran and in which precision, as reported by its worker; None on a phone."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Threads, providers, warm-up, seconds per phase, the machine's state before and after."""

    @property
    def runtime_version(self) -> str:
        """Version of the runtime itself: the first one that the session reports."""
        return next(iter(self.versions.values()), "")
