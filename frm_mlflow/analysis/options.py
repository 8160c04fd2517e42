"""What a user can choose about the analyses; mirrors `conf/analysis/` and is checked once."""

from __future__ import annotations

from dataclasses import dataclass, field

from frm_mlflow.errors import ConfigError

DUPLICATE_RULES = ("newest", "best", "median")
DOMINANCE_RULES = ("strict", "any")


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions:
    """Options of `analyze`: baselines, thresholds, what is counted once, and the statistics."""

    baseline: str = "resnet50"
    """Reference model of the ratios."""
    baselines: list[str] = field(default_factory=lambda: ["resnet50", "mobilenet_v2", "efficientnet_b0"])
    """Baselines set side by side (paper 3.4)."""
    threshold: int = 2
    """Ranks that must lie between FLOPs and another metric to count as a disagreement (paper 4.2)."""
    duplicates: str = "newest"
    """Which benchmark of one model on one configuration counts: newest, best (lowest latency) or median."""
    count_duplicates: bool = False
    """True counts republished jobs and near-duplicate devices as if they were independent."""
    batch_size: int | None = None
    """Batch size of comparisons between configurations; null takes the commonest."""
    resolution: str | None = None
    """Resolution of comparisons between configurations; null takes the commonest."""
    min_models: int = 5
    """Two rankings with fewer models in common are not correlated."""
    resamples: int = 2000
    """Bootstrap resamples."""
    shuffles: int = 100
    """Repeats of the control whose latency and memory are shuffled across models."""
    confidence: float = 0.95
    alpha: float = 0.05
    """Level of the significance tests, before correction for multiple comparisons."""
    dominance: str = "strict"
    """Ties on a Pareto frontier: strict (paper eq. 5) or any (the usual definition)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.duplicates not in DUPLICATE_RULES:
            raise ConfigError(
                f"analysis.duplicates must be one of {', '.join(DUPLICATE_RULES)}, got '{self.duplicates}'"
            )
        if self.dominance not in DOMINANCE_RULES:
            raise ConfigError(f"analysis.dominance must be one of {', '.join(DOMINANCE_RULES)}, got '{self.dominance}'")
        for name, lowest in (("threshold", 1), ("min_models", 3), ("resamples", 100), ("shuffles", 10)):
            if getattr(self, name) < lowest:
                raise ConfigError(f"analysis.{name} must be at least {lowest}, got {getattr(self, name)}")
        for name in ("confidence", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"analysis.{name} must lie between 0 and 1, got {getattr(self, name)}")
