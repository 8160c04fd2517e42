"""The settings of the commands: `conf/bench.yaml`, `conf/attach.yaml`, `conf/ingest.yaml`, `conf/gate.yaml`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from frm_mlflow.config.device import DeviceConfig
from frm_mlflow.config.measuring import AccuracyConfig, MeasureConfig, PrecisionConfig, RuntimeConfig
from frm_mlflow.config.model import ModelConfig
from frm_mlflow.errors import ConfigError


@dataclass(frozen=True)
class TrackingConfig:
    """Where runs are logged; null uses MLflow's environment variables and defaults."""

    uri: str | None = None
    experiment: str | None = None
    """Null uses MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID if set, else `frm`."""
    parent_run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadLimits:
    """Limits on reading an untrusted file, which is rejected if it exceeds them."""

    max_mib: float = 64.0
    """Maximum size of one file, including a file unpacked from an archive."""
    max_seconds: float = 20.0
    """Maximum CPU time for one file."""
    max_rows: int = 1_000_000
    """Maximum number of rows in one table."""

    def __post_init__(self) -> None:
        for name in ("max_mib", "max_seconds", "max_rows"):
            if not 0 < getattr(self, name) <= 1e12:
                raise ConfigError(f"source.limits.{name} must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class SourceConfig:
    """Options of an importer: what to import, and facts that the file does not contain."""

    name: str
    """Name of an entry point in the group `frm_mlflow.importers`."""
    version: str | None = None
    """Release to download if no path is given (aihub)."""
    filter: str = "classifiers"
    """classifiers (networks with ImageNet accuracy) or all; only aihub contains other networks."""
    given: dict[str, Any] = field(default_factory=dict)
    """Facts that the file does not contain: model, device, tier, chip, runtime, runtime_version, precision, ..."""
    models: dict[str, str] | None = None
    """Maps your model names to canonical names."""
    devices: dict[str, str] | None = None
    """Maps your device names to canonical names."""
    columns: dict[str, str | None] | None = None
    """Maps our columns (`latency_ms`, `model`, ...) to those of a csv or parquet table; null ignores a column."""
    units: dict[str, str] | None = None
    """Units of these columns if they differ from ours: us, s, bytes, kb, mb, gb, kib, gib, count, fraction, ..."""
    accuracy: str | None = None
    """A timm results table (`results-imagenet.csv`) that accuracy is read from (timm)."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """Limits on reading one file."""

    def __post_init__(self) -> None:
        if self.filter not in ("classifiers", "all"):
            raise ConfigError(f"source.filter must be classifiers or all, got '{self.filter}'")


@dataclass(frozen=True, kw_only=True)
class MeasuringConfig:
    """The settings of every command that measures: bench, attach and gate."""

    device: DeviceConfig
    runtime: RuntimeConfig
    precision: PrecisionConfig
    measure: MeasureConfig
    tracking: TrackingConfig
    baseline: str = "resnet50"
    batch_size: int = 1
    json: bool = False

    def __post_init__(self) -> None:
        if self.measure.batch_size != self.batch_size:
            raise ConfigError(
                f"measure.batch_size={self.measure.batch_size} follows batch_size={self.batch_size}: "
                f"set batch_size={self.measure.batch_size} instead"
            )


@dataclass(frozen=True, kw_only=True)
class BenchConfig(MeasuringConfig):
    """The settings of `frm-mlflow bench` (`conf/bench.yaml`)."""

    model: ModelConfig
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)
    models: list[str] | None = None
    runtimes: list[str] | None = None
    precisions: list[str] | None = None
    resume: bool = False
    dry_run: bool = False
    analysis: Any = None
    """Analyses to compute after the sweep, by their names in `frm-mlflow analyze`; None computes none."""
    max_drift: float = 0.1

    def __post_init__(self) -> None:
        MeasuringConfig.__post_init__(self)
        if self.max_drift <= 0:
            raise ConfigError(f"max_drift must be positive (0.1 is 10 %), got {self.max_drift}")
        if self.max_drift > 1:
            raise ConfigError(_ambiguous("max_drift", self.max_drift, f"{self.max_drift / 100:g}"))


@dataclass(frozen=True, kw_only=True)
class AttachConfig(MeasuringConfig):
    """The settings of `frm-mlflow attach` (`conf/attach.yaml`) and of `frm_mlflow.log_frm`."""

    model_uri: str | None = None
    run_id: str | None = None
    into: str = "child"
    prefix: str = ""
    name: str | None = None
    trust: bool = False
    """Let MLflow load a model that can execute code from whoever logged it (a pickle, a code folder)."""

    def __post_init__(self) -> None:
        MeasuringConfig.__post_init__(self)
        if self.into not in ("child", "run"):
            raise ConfigError(f"into must be child or run, got '{self.into}'")


@dataclass(frozen=True)
class IngestConfig:
    """The settings of `frm-mlflow ingest` (`conf/ingest.yaml`)."""

    source: SourceConfig
    tracking: TrackingConfig
    path: str | None = None
    filter: str = "classifiers"
    """The value that the source's `filter` refers to."""
    dry_run: bool = False
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class GateConfig(MeasuringConfig):
    """The settings of `frm-mlflow gate` (`conf/gate.yaml`)."""

    candidate: str
    against: str | None = None
    max_latency_ms: float | None = None
    max_frm: float | None = None
    max_regression: str | None = None
    """A percentage (5%), or a fraction below 1 (0.05)."""
    confidence: float = 0.95
    rounds: int = 4
    """Maximum number of measurements; after each, the gate checks whether the verdict is clear."""
    numbers: str = "auto"
    trust: bool = False
    """Let MLflow load a model that can execute code from whoever logged it (a pickle, a code folder)."""
    tag: bool = True
    alias: str | None = None
    junit: str | None = None
    markdown: str | None = None

    def __post_init__(self) -> None:
        MeasuringConfig.__post_init__(self)
        if self.numbers not in ("auto", "measured", "tracked", "predicted"):
            raise ConfigError(f"numbers must be auto, measured, tracked or predicted, got '{self.numbers}'")
        if self.rounds < 1:
            raise ConfigError(f"rounds must be at least 1, got {self.rounds}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must be above 0 and below 1 (0.95 is 95 %), got {self.confidence}")
        if self.max_frm is not None and not 0 < self.max_frm < 1e6:
            raise ConfigError(f"max_frm must be above 0 (1 is the baseline's cost), got {self.max_frm}")
        if self.max_latency_ms is not None and not 1e-6 <= self.max_latency_ms <= 86_400_000:
            raise ConfigError(
                f"max_latency_ms must be between 1e-6 (1 ns) and 86400000 (1 day), got {self.max_latency_ms}"
            )
        limits = (self.max_latency_ms, self.max_frm, self.largest_ratio)
        if all(limit is None for limit in limits):
            raise ConfigError("a gate needs a limit: max_latency_ms=, max_frm= or max_regression= with against=")
        if (self.against is None) != (self.max_regression is None):
            raise ConfigError(
                "against= and max_regression= go together: against=models:/NAME@champion max_regression=5%"
            )

    @property
    def largest_ratio(self) -> float | None:
        """Largest allowed ratio of the candidate's latency to that of `against`."""
        if self.max_regression is None:
            return None
        text = self.max_regression.strip()
        in_percent = text.endswith("%")
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1e6:
            raise ConfigError(f"max_regression must be a percentage or a share (5%, 0.05), got '{text}'")
        if number >= 1 and not in_percent:
            raise ConfigError(
                f"max_regression={text} can be {number:g} % or {number:g} times the latency of against=: "
                f"write max_regression={number:g}% or max_regression={100 * number:g}%"
            )
        return 1 + (number / 100 if in_percent else number)


def _ambiguous(key: str, value: float, share: str) -> str:
    return (
        f"{key}={value:g} can be {value:g} % or {value:g} times: write {key}={share} for {value:g} %, a share below 1"
    )
