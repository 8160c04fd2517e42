"""User options of predictions; mirrors `conf/predictor/` and is validated once."""

from __future__ import annotations

from dataclasses import dataclass, field

from frm_mlflow.errors import ConfigError
from frm_mlflow.prediction.learning import AUTO
from frm_mlflow.prediction.predictors import PREDICTORS

PROTOCOLS = ("device", "chip", "generation", "tier", "model")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The device to predict for. Empty facts are filled from the history, with a note in the prediction."""

    device: str
    chip: str = ""
    tier: str = ""
    runtime: str = ""
    precision: str = ""
    compute_unit: str = ""
    note: str = ""
    """How empty facts were filled before the history was read; included in the notes of a prediction."""

    def __post_init__(self) -> None:
        if not self.device:
            raise ConfigError("target is empty: name the device to predict for, as target='Samsung Galaxy S21'")


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """Options of `predict`, shared by `plan` and `evaluate`."""

    predictor: str = AUTO
    """Name of the predictor: auto, or one of `predictors.PREDICTORS`."""
    baseline: str = "resnet50"
    """Baseline model of the ratios."""
    confidence: float = 0.9
    """Share of true values that intervals should cover."""
    draws: int = 1000
    """Number of joint draws from the posterior for frontier and rank probabilities."""
    measurement_sd: float = 0.02
    """Relative noise of one measured latency."""

    def __post_init__(self) -> None:
        if self.predictor != AUTO and self.predictor not in PREDICTORS:
            raise ConfigError(
                f"options.predictor must be {AUTO} or one of {', '.join(PREDICTORS)}, got '{self.predictor}'"
            )
        if not 0.5 < self.confidence < 1:
            raise ConfigError(f"options.confidence must lie between 0.5 and 1, got {self.confidence}")
        if self.draws < 50:
            raise ConfigError(f"options.draws must be at least 50, got {self.draws}")
        if not 0 < self.measurement_sd < 1:
            raise ConfigError(f"options.measurement_sd must lie between 0 and 1, got {self.measurement_sd}")


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Limits that the recommended model must satisfy."""

    max_latency_ms: float | None = None
    min_top1: float | None = None
    max_memory_mib: float | None = None
    confidence: float = 0.9
    """Required probability that each limit is satisfied."""
    alternatives: int = 5
    """Number of runners-up, or of closest models if nothing fits."""

    def __post_init__(self) -> None:
        for name in ("max_latency_ms", "max_memory_mib"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise ConfigError(f"constraints.{name} must be above 0, got {limit}")
        if self.min_top1 is not None and not 0 <= self.min_top1 <= 100:
            raise ConfigError(f"constraints.min_top1 is a percentage, got {self.min_top1}")
        if self.min_top1 is not None and 0 < self.min_top1 <= 1:
            raise ConfigError(
                f"constraints.min_top1={self.min_top1:g} can be {100 * self.min_top1:g} % or {self.min_top1:g} %: "
                f"it is a percentage, so write {100 * self.min_top1:g} for {100 * self.min_top1:g} %"
            )
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"constraints.confidence must be at least 0.5 and below 1, got {self.confidence}")
        if self.alternatives < 1:
            raise ConfigError(f"constraints.alternatives must be at least 1, got {self.alternatives}")


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of `plan`."""

    budget: int = 5
    """Maximum number of models to measure."""
    latency_share: float = 1.0
    """Weight of the information about latencies, relative to 1 for the information about the frontier."""
    stop_below: float = 0.1
    """Stop if fewer models than this are expected on the wrong side of the frontier."""

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ConfigError(f"plan.budget must be at least 1, got {self.budget}")
        if self.latency_share < 0:
            raise ConfigError(f"plan.latency_share must not be negative, got {self.latency_share}")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Options of `evaluate`: what is held out, what is scored and how often."""

    protocols: list[str] = field(default_factory=lambda: ["chip", "generation", "tier", "model"])
    """Units that are held out as a whole: device, chip, generation, tier or model."""
    anchors: list[int] = field(default_factory=lambda: [0, 1, 3, 5, 10])
    """Numbers of planned measurements on the held-out device to evaluate."""
    random_seeds: int = 20
    """Number of random anchor sets, each of the same size as the planned one."""
    predictors: list[str] = field(default_factory=lambda: [AUTO, *PREDICTORS])
    min_models: int = 20
    """Minimum number of models for a configuration to be held out."""
    resamples: int = 2000
    """Number of bootstrap resamples, over chips."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.protocols) - set(PROTOCOLS))
        if unknown or not self.protocols:
            raise ConfigError(f"evaluation.protocols must be among {', '.join(PROTOCOLS)}, got {self.protocols}")
        unknown = sorted(set(self.predictors) - {AUTO, *PREDICTORS})
        if unknown or not self.predictors:
            raise ConfigError(f"evaluation.predictors must be among {AUTO}, {', '.join(PREDICTORS)}, got {unknown}")
        if not self.anchors or min(self.anchors) < 0:
            raise ConfigError(f"evaluation.anchors must be counts, got {self.anchors}")
        if self.min_models < 5:
            raise ConfigError(f"evaluation.min_models must be at least 5, got {self.min_models}")
