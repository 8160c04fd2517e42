"""`frm-mlflow recommend`: the most accurate model that meets the limits on a device."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import DictConfig

from frm_mlflow.config import checked
from frm_mlflow.prediction import Constraints
from frm_mlflow.prediction import recommend as best_within

from ._prediction import QuestionConfig, answer_with, prediction_for


@dataclass(frozen=True)
class RecommendConfig(QuestionConfig):
    """The settings of `frm-mlflow recommend` (`conf/recommend.yaml`)."""

    constraints: Constraints = field(default_factory=Constraints)
    """Filled from the four keys below, which are shorter to type."""
    max_latency_ms: float | None = None
    min_top1: float | None = None
    max_memory_mib: float | None = None
    confidence: float = 0.9


def recommend(config: DictConfig) -> None:
    """Recommend the most accurate model that meets the limits on the target with the requested confidence.

    Raises
    ------
    DataError
        If the history is not sufficient; the message lists what is missing.
    """
    settings = checked(RecommendConfig, config, where="recommend")
    answer_with(
        settings,
        "recommendation",
        lambda frame, rng: best_within(prediction_for(settings, frame, rng), settings.constraints),
    )
