"""Predictions for a model on a device where it was not measured. Pure: frames and arrays in, frozen results out."""

from frm_mlflow.prediction.evaluation import Evaluation, evaluate
from frm_mlflow.prediction.options import Constraints, EvaluationOptions, PlanOptions, PredictionOptions, Target
from frm_mlflow.prediction.planning import Plan, plan
from frm_mlflow.prediction.prediction import Prediction, predict
from frm_mlflow.prediction.recommendation import Recommendation, recommend

__all__ = [
    "Constraints",
    "Evaluation",
    "EvaluationOptions",
    "Plan",
    "PlanOptions",
    "Prediction",
    "PredictionOptions",
    "Recommendation",
    "Target",
    "evaluate",
    "plan",
    "predict",
    "recommend",
]
