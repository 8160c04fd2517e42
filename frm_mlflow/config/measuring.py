"""How it is measured: runtime, precision, protocol and the source of accuracy, each a group of `conf/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from frm_mlflow.errors import ConfigError


@dataclass(frozen=True)
class RuntimeConfig:
    """An inference runtime with its options; `threads` null means all physical cores the process may use."""

    name: str
    threads: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PrecisionConfig:
    """Numeric precision asked for; the run's tag says what really ran."""

    name: str
    calibration: str | None = None
    calibration_samples: int = 64


@dataclass(frozen=True)
class MeasureConfig:
    """The measuring protocol: warm-up, pairing with the baseline, stopping rule, limits."""

    protocol: str = "default"
    """Name of the protocol, which the run and the leaderboard show."""
    runs: int = 100
    """Timed runs at least, over all launches."""
    launches: int = 5
    """Fresh pairs of worker processes at first, each with its share of the runs; with 1 there is no interval."""
    max_runs: int = 10_000
    max_seconds: float = 60.0
    """Cap on the time from the first timed call on; `runs` are made in any case."""
    target_interval: float = 0.03
    """Half-width of the ratio's interval over its value that the second stage makes launches for."""
    block_seconds: float = 0.25
    """Length aimed at for one block of the slower of the two models."""
    warm_up_runs: int = 10
    warm_up_seconds: float = 0.5
    warm_up_agreement: float = 0.10
    warm_up_max_seconds: float = 30.0
    confidence: float = 0.95
    resamples: int = 2000
    batch_size: int = 1
    energy_seconds: float = 5.0
    """Window in which energy is metered, after the timed runs, where there is a meter; 0 leaves it out."""
    sustained_seconds: float = 0.0
    """Sustained mode: run the model alone for so long and follow its latency; 0 leaves it out."""
    timeout_s: float = 300.0
    """A worker that does not answer for this long is killed and the benchmark FAILED."""
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
    """Where accuracy comes from: published, or measured on labelled images through the timed artefact."""

    mode: str = "published"
    data: str | None = None
    """A folder with one folder a class, an `.npz` or a directory of Hugging Face's save_to_disk."""
    samples: int = 1000
    """Images drawn without replacement (the paper: 1,000)."""
    seed: int = 0
    crop: float = 0.875
    """Input side over the shorter side of the resized image."""
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
