"""`frm-mlflow plan`: the models to measure next on a device."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from frm_mlflow.config import checked
from frm_mlflow.prediction import PlanOptions
from frm_mlflow.prediction import plan as plan_measurements
from frm_mlflow.target import measuring_command
from frm_mlflow.tracking.history import listed
from frm_mlflow.zoo.catalogue import CATALOGUE

from ._prediction import Answer, QuestionConfig, anchors_of, answer_with, target_of


@dataclass(frozen=True)
class PlanConfig(QuestionConfig):
    """The settings of `frm-mlflow plan` (`conf/plan.yaml`)."""

    plan: PlanOptions = field(default_factory=PlanOptions)
    """Filled from the key below, which is shorter to type."""
    budget: int = 5


def plan(config: DictConfig) -> None:
    """Select the models to measure next on the target, and give the command that measures them.

    Raises
    ------
    DataError
        If the history is not sufficient; the message lists what is missing.
    """
    settings = checked(PlanConfig, config, where="plan")

    def compute(frame: pd.DataFrame, rng: np.random.Generator) -> Answer:
        target = target_of(settings, frame)
        return plan_measurements(
            frame,
            target,
            settings.options,
            settings.plan,
            rng,
            anchors=anchors_of(settings.anchors),
            sources=listed(settings.sources) or None,
            buildable=CATALOGUE if measuring_command(target, ()).command else None,
        )

    answer_with(settings, "plan", compute)
