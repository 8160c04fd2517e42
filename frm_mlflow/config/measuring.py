"""Measurement settings: runtime, precision, protocol and the source of accuracy, each a group of `conf/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from frm_mlflow.errors import ConfigError


@dataclass(frozen=True)
class RuntimeConfig:
    """An inference runtime with its options; `threads` null means all physical cores available to the process."""

    name: str
    threads: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PrecisionConfig:
    """Requested numeric precision; the run's tag records the precision that was actually used."""

    name: str
    calibration: str | None = None
    calibration_samples: int = 64


@dataclass(frozen=True)
class MeasureConfig:
    """The measurement protocol: warm-up, pairing with the baseline, stopping rule, limits."""

    protocol: str = "default"
    """Name of the protocol, shown in the run and the leaderboard."""
    runs: int = 100
    """Minimum number of timed runs over all launches."""
    launches: int = 5
    """Initial number of fresh worker pairs, which share the runs between them; with 1 there is no interval."""
    max_runs: int = 10_000
    max_seconds: float = 60.0
    """Time limit, counted from the first timed call; at least `runs` runs are made even if it is exceeded."""
    target_interval: float = 0.03
    """Relative half-width of the ratio's interval that the second stage adds launches to reach."""
    block_seconds: float = 0.25
    """Target duration of one block of the slower of the two models."""
    warm_up_runs: int = 10
    warm_up_seconds: float = 0.5
    warm_up_agreement: float = 0.10
    warm_up_max_seconds: float = 30.0
    confidence: float = 0.95
    resamples: int = 2000
    batch_size: int = 1
    """Follows the command's `batch_size`."""
    energy_seconds: float = 5.0
    """Time for which energy is measured after the timed runs, if there is a meter; 0 skips it."""
    sustained_seconds: float = 0.0
    """Sustained mode: run the model alone for this long and record its latency; 0 skips it."""
    timeout_s: float = 300.0
    """A worker that does not respond within this time is killed and its benchmark is FAILED."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ConfigError(f"measure.runs must be at least 1, got {self.runs}")
        if self.launches < 1:
            raise ConfigError(f"measure.launches must be at least 1, got {self.launches}")
        if not 0 <= self.target_interval <= 1:
            raise ConfigError(
                f"measure.target_interval is a share of at most 1, got {self.target_interval:g}: "
                f"for {self.target_interval:g} % write {self.target_interval / 100:g}"
            )
        if self.max_runs < self.runs:
            raise ConfigError(f"measure.max_runs ({self.max_runs}) must not be below measure.runs ({self.runs})")
        if self.batch_size < 1:
            raise ConfigError(f"measure.batch_size must be at least 1, got {self.batch_size}")
        if not 0.5 < self.confidence < 1:
            raise ConfigError(f"measure.confidence must be between 0.5 and 1, got {self.confidence}")
        if min(self.energy_seconds, self.sustained_seconds) < 0:
            raise ConfigError("measure.energy_seconds and measure.sustained_seconds must not be negative; 0 is off")


@dataclass(frozen=True)
class AccuracyConfig:
    """Source of accuracy: published, or measured on labelled images with the same exported model that is timed."""

    mode: str = "published"
    data: str | None = None
    """A folder with one subfolder per class, an `.npz` file or a directory written by Hugging Face's save_to_disk."""
    samples: int = 1000
    """Images drawn without replacement (the paper: 1,000)."""
    seed: int = 0
    crop: float = 0.875
    """Ratio of the input side to the shorter side of the resized image."""
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])

    def __post_init__(self) -> None:
        if self.mode not in ("published", "measured"):
            raise ConfigError(f"accuracy.mode must be published or measured, got '{self.mode}'")
        if self.mode == "measured" and not self.data:
            raise ConfigError("accuracy=measured needs accuracy.data=PATH")
        if self.samples < 1:
            raise ConfigError(f"accuracy.samples must be at least 1, got {self.samples}")
        if not 0 < self.crop <= 1:
            raise ConfigError(f"accuracy.crop must be above 0 and at most 1, got {self.crop}")
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ConfigError("accuracy.mean and accuracy.std need one number a channel, for 1 or 3 channels")
