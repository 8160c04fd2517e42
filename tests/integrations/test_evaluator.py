from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.models import infer_signature
from torch import nn

from frm_mlflow.errors import ConfigError
from frm_mlflow.integrations.evaluator import FrmEvaluator
from tests.integrations.logged import log_onnx


@pytest.fixture
def model_uri(tracking, tmp_path) -> str:
    import onnx

    rows = np.zeros((3, 8), np.float32)
    torch.onnx.export(nn.Linear(8, 1), (torch.zeros(1, 8),), tmp_path / "m.onnx", dynamo=False)
    with mlflow.start_run():
        info = log_onnx(onnx.load(tmp_path / "m.onnx"), "linear", signature=infer_signature(rows, rows[:, :1]))
    return str(info.model_uri)


DATA = pd.DataFrame(np.zeros((3, 8), np.float32), columns=[str(i) for i in range(8)])


@pytest.mark.oldest_mlflow
def test_mlflows_evaluate_returns_metrics_and_artifacts(tracking, model_uri, measured_as):
    measured_as()
    with mlflow.start_run() as run:
        result = mlflow.models.evaluate(
            model_uri, DATA, model_type="frm", evaluators="frm", evaluator_config={"baseline": "squeezenet1_1"}
        )
    assert result.metrics["frm"] == pytest.approx((0.5 * 0.5 * 0.5) ** (1 / 3))
    assert result.artifacts["frm"].content["tags"]["frm.baseline"] == "squeezenet1_1"
    history = tracking.get_metric_history(run.info.run_id, "frm")
    assert [point.value for point in history] == [result.metrics["frm"]]
    model = tracking.get_logged_model(model_uri.removeprefix("models:/"))
    assert {metric.key for metric in model.metrics} >= {"frm", "ratio/latency"}


@pytest.mark.parametrize(
    ("model_type", "config", "expected"),
    [
        ("frm", None, True),
        ("classifier", {}, False),
        ("classifier", {"baseline": "resnet18"}, True),
        ("classifier", {"log_model_explainability": False}, False),
        (None, None, False),
    ],
)
def test_it_takes_part_only_where_it_was_asked_for(model_type, config, expected):
    assert FrmEvaluator.can_evaluate(model_type=model_type, evaluator_config=config) is expected


def test_an_unknown_setting_and_a_function_are_refused(tracking, model_uri):
    with mlflow.start_run(), pytest.raises(ConfigError, match="unknown base"):
        mlflow.models.evaluate(model_uri, DATA, model_type="frm", evaluators="frm", evaluator_config={"base": "x"})
    with mlflow.start_run(), pytest.raises(ConfigError, match="pass a model URI"):
        mlflow.models.evaluate(lambda rows: rows, DATA, model_type="frm", evaluators="frm")
