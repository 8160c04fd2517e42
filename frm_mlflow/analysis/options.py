"""User options of the analyses; mirrors `conf/analysis/` and is validated once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from frm_mlflow.analysis.facts import OWN, QUANTISED_ACCURACY
from frm_mlflow.analysis.frm import FRM_COMPONENTS, FRM_E_COMPONENTS
from frm_mlflow.errors import ConfigError

DUPLICATE_RULES = ("newest", "best", "median")
DOMINANCE_RULES = ("strict", "any")


class BootstrapSettings(TypedDict):
    """Keyword arguments of the functions in `bootstrap`."""

    resamples: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions:
    """Options of `analyze`: baselines, thresholds, handling of duplicates, and statistics."""

    baseline: str = "resnet50"
    """Baseline model of the ratios."""
    baselines: list[str] = field(default_factory=lambda: ["resnet50", "mobilenet_v2", "efficientnet_b0"])
    """Baselines to compare (paper 3.4)."""
    threshold: int = 2
    """Minimum difference in rank between FLOPs and another metric to count as a disagreement (paper 4.2)."""
    duplicates: str = "newest"
    """Benchmark that counts if a configuration has several of one model: newest, best (lowest latency) or median."""
    count_duplicates: bool = False
    """If true, republished jobs and near-duplicate devices are counted as if they were independent."""
    batch_size: int | None = None
    """Batch size of comparisons between configurations; null uses the most common one."""
    resolution: str | None = None
    """Resolution of comparisons between configurations; null uses the most common one."""
    min_models: int = 5
    """Minimum number of common models for a rank correlation."""
    resamples: int = 2000
    """Number of bootstrap resamples."""
    shuffles: int = 100
    """Number of repeats of the control with latency and memory shuffled across models."""
    confidence: float = 0.95
    alpha: float = 0.05
    """Level of the significance tests, before correction for multiple comparisons."""
    components: list[str] = field(default_factory=lambda: list(FRM_COMPONENTS))
    """Components of FRM as a cost; with energy it becomes FRM_E."""
    quantised_accuracy: str = OWN
    """Accuracy of quantised networks: own (measured in that precision) or float (published for the float network)."""
    price_per_device_hour: float | None = None
    """Price of one hour on one device, in any currency (paper 5.4); null omits prices."""
    case_target: str | None = None
    """Target device of the case study (section 6); null uses the Galaxy S21 or the edge device with the most models."""
    case_reference: str | None = None
    """Device whose FRM the case study uses; null uses the RTX 4090 or the non-edge device with the most models."""
    case_max_latency_ms: float = 100.0
    """Latency limit of the case study."""
    dominance: str = "strict"
    """Ties on a Pareto frontier: strict (paper eq. 5) or any (the usual definition)."""
    seed: int = 0

    @property
    def bootstrap(self) -> BootstrapSettings:
        """Number of resamples and confidence of intervals over chips."""
        return {"resamples": self.resamples, "confidence": self.confidence}

    def __post_init__(self) -> None:
        if self.duplicates not in DUPLICATE_RULES:
            raise ConfigError(
                f"options.duplicates must be one of {', '.join(DUPLICATE_RULES)}, got '{self.duplicates}'"
            )
        if self.dominance not in DOMINANCE_RULES:
            raise ConfigError(f"options.dominance must be one of {', '.join(DOMINANCE_RULES)}, got '{self.dominance}'")
        unknown = [name for name in self.components if name not in FRM_E_COMPONENTS]
        if unknown or not self.components or len(set(self.components)) < len(self.components):
            raise ConfigError(
                f"options.components must be some of {', '.join(FRM_E_COMPONENTS)}, each once, "
                f"got [{','.join(self.components)}]"
            )
        if self.quantised_accuracy not in QUANTISED_ACCURACY:
            raise ConfigError(
                f"options.quantised_accuracy must be one of {', '.join(QUANTISED_ACCURACY)}, "
                f"got '{self.quantised_accuracy}'"
            )
        for name, figure in (
            ("price_per_device_hour", self.price_per_device_hour),
            ("case_max_latency_ms", self.case_max_latency_ms),
        ):
            if figure is not None and not 0 < figure < float("inf"):
                raise ConfigError(f"options.{name} must be above 0, got {figure}")
        for name, lowest in (("threshold", 1), ("min_models", 3), ("resamples", 100), ("shuffles", 10)):
            if getattr(self, name) < lowest:
                raise ConfigError(f"options.{name} must be at least {lowest}, got {getattr(self, name)}")
        for name in ("confidence", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"options.{name} must lie between 0 and 1, got {getattr(self, name)}")
