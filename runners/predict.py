"""`frm-mlflow predict`: latency, memory, FRM and the frontier on a device that was not measured."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from frm_mlflow.config import checked
from frm_mlflow.prediction import EvaluationOptions, evaluate
from frm_mlflow.progress import console, counting

from ._prediction import Answer, Compute, QuestionConfig, answer_with, prediction_for


@dataclass(frozen=True)
class PredictConfig(QuestionConfig):
    """The settings of `frm-mlflow predict` (`conf/predict.yaml`)."""

    evaluate: bool = False
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)


def predict(config: DictConfig) -> None:
    """Predict latency, memory, FRM and frontier for a target, or score all predictors on held-out devices.

    Raises
    ------
    DataError
        If the history is not sufficient; the message lists what is missing.
    """
    settings = checked(PredictConfig, config, where="predict")
    if settings.evaluate:
        answer_with(settings, "evaluation", _evaluation(settings))
    else:
        answer_with(settings, "prediction", lambda frame, rng: prediction_for(settings, frame, rng))


def _evaluation(settings: PredictConfig) -> Compute:
    def compute(frame: pd.DataFrame, rng: np.random.Generator) -> Answer:
        with counting("evaluating", out=console()) as progress:
            return evaluate(frame, settings.options, settings.evaluation, rng, progress=progress)

    return compute
