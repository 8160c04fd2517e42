from __future__ import annotations

import mlflow
import numpy as np
import pytest
import torch
from mlflow.models import infer_signature
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from frm_mlflow.config import PrecisionConfig
from frm_mlflow.errors import ConfigError, FrmError, TrackingError
from frm_mlflow.export.pack import pack
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.runners.attach import attach
from frm_mlflow.sweep.compose import composed
from frm_mlflow.tracking.flavors import measurable
from frm_mlflow.worker.manifest import ExportedModel
from tests.integrations.logged import EXAMPLE, log_onnx, log_torch


def run_attach(*overrides: str) -> None:
    attach(composed("attach", [*overrides, "json=true"]))


def children(client: mlflow.MlflowClient, run_id: str) -> list[mlflow.entities.Run]:
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'"))


@pytest.mark.oldest_mlflow
def test_each_device_gets_a_child_run_of_the_logged_model(tracking, net, measured_as):
    with mlflow.start_run() as run:
        info = log_torch(net, "net")
    before = tracking.get_run(run.info.run_id).info
    measured_as((0.5, 0.5, 0.5))
    run_attach(f"model_uri=models:/{info.model_id}")
    measured_as((0.25, 0.25, 0.25))
    run_attach(f"run_id={run.info.run_id}", "runtime=torch_export")
    found = children(tracking, run.info.run_id)
    assert {r.data.tags["frm.runtime"] for r in found} == {"onnxruntime", "torch_export"}
    assert {r.data.tags["frm.kind"] for r in found} == {"benchmark"}
    assert {r.data.tags["frm.model"] for r in found} == {"net"}
    after = tracking.get_run(run.info.run_id)
    assert (after.info.status, after.info.end_time) == (before.status, before.end_time)
    assert "frm" not in after.data.metrics
    model = tracking.get_logged_model(info.model_id)
    ratios = {metric.run_id: metric.value for metric in model.metrics if metric.key == "ratio/latency"}
    assert ratios == {r.info.run_id: r.data.metrics["ratio/latency"] for r in found}
    for child in found:  # linking the model must not log a second data point
        assert len(tracking.get_metric_history(child.info.run_id, "frm")) == 1


@pytest.mark.oldest_mlflow
def test_into_run_logs_to_the_run_itself(tracking, net, measured_as):
    with mlflow.start_run() as run:
        log_torch(net, "net")
    measured_as()
    run_attach(f"run_id={run.info.run_id}", "into=run", "prefix=laptop/")
    assert tracking.get_run(run.info.run_id).data.metrics["laptop/frm"] > 0


def test_a_pickled_module_is_loaded_only_with_consent(tracking, measured_as, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")  # consent given to MLflow, not to us
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    signature = infer_signature(EXAMPLE, model(torch.from_numpy(EXAMPLE)).detach().numpy())
    with mlflow.start_run():
        info = log_torch(model, "pickled", input_example=None, signature=signature, serialization_format="pickle")
    asked = measured_as()
    with pytest.raises(ConfigError, match="trust=true"):
        run_attach(f"model_uri={info.model_uri}")
    assert asked == []
    run_attach(f"model_uri={info.model_uri}", "trust=true")
    assert asked == ["pickled"]
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(ConfigError, match="MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
        run_attach(f"model_uri={info.model_uri}", "trust=true")


def test_onnx_and_transformers_flavors_are_measured(tracking, measured_as, tmp_path):
    import onnx
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.onnx.export(nn.Linear(8, 2), (torch.zeros(1, 8),), tmp_path / "m.onnx", dynamo=False)
    config = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    with mlflow.start_run():
        onnx_info = log_onnx(onnx.load(tmp_path / "m.onnx"), "linear")
        vit_info = mlflow.transformers.log_model(
            {
                "model": ViTForImageClassification(config),
                "image_processor": ViTImageProcessor(size={"height": 8, "width": 8}),
            },
            name="vit",
            task="image-classification",
            pip_requirements=["transformers"],
        )
    asked = measured_as()
    run_attach(f"model_uri={onnx_info.model_uri}")
    run_attach(f"model_uri={vit_info.model_uri}")
    assert asked == ["linear", "vit"]


def test_a_flavor_that_cannot_be_measured_names_those_that_can(tracking, measured_as):
    from sklearn.linear_model import LinearRegression

    with mlflow.start_run():
        line = LinearRegression().fit([[0.0]], [0.0])
        info = mlflow.sklearn.log_model(line, name="line", pip_requirements=["scikit-learn"])
    measured_as()
    with pytest.raises(ConfigError, match="onnx, pytorch, transformers can be measured"):
        run_attach(f"model_uri={info.model_uri}")


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ((), ConfigError, "either model_uri"),
        (("model_uri=models:/nonesuch@champion",), TrackingError, "nonesuch"),
        (("model_uri=models:/m-0123456789abcdef0123456789abcdef",), TrackingError, "not found"),
        (("run_id=0123456789abcdef0123456789abcdef",), TrackingError, "0123456789abcdef"),
        (("model_uri=/some/where",), ConfigError, "is not a model URI"),
        (("run_id=x", "into=nowhere"), ConfigError, "child or run"),
    ],
    ids=["neither", "alias", "model", "run", "path", "into"],
)
def test_missing_models_and_runs_are_named(tracking, overrides, error, message):
    with pytest.raises(error, match=message):
        run_attach(*overrides)


@pytest.mark.oldest_mlflow
def test_a_run_with_no_model_or_several_is_refused(tracking, net):
    with mlflow.start_run() as empty:
        pass
    with pytest.raises(ConfigError, match="has not logged a model"):
        run_attach(f"run_id={empty.info.run_id}")
    with mlflow.start_run() as two:
        for name in ("a", "b"):
            log_torch(net, name)
    with pytest.raises(FrmError, match="choose one: model_uri=models:/m-"):
        run_attach(f"run_id={two.info.run_id}")


def free_axes() -> ModelProto:
    """Return a @ v + b @ w with free axes: only an example gives their sizes."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["a", "v"], ["p"]),
            helper.make_node("MatMul", ["b", "w"], ["q"]),
            helper.make_node("Add", ["p", "q"], ["y"]),
        ],
        "two",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", "of_a"]),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", "of_b"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [
            numpy_helper.from_array(np.ones((64, 8), np.float32), "v"),
            numpy_helper.from_array(np.ones((32, 8), np.float32), "w"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_onnx_model_is_measured_on_the_shapes_of_its_example(tmp_path):
    example = {"a": np.zeros((1, 64), np.float32), "b": np.zeros((1, 32), np.float32)}
    folder = tmp_path / "model"
    mlflow.onnx.save_model(free_axes(), folder, input_example=example, pip_requirements=["onnx"])
    for batch_size in (1, 4):
        config = measurable(folder, tmp_path, name="two", batch_size=batch_size)
        exported = tmp_path / f"exported-{batch_size}"
        exported.mkdir()
        precision = PrecisionConfig(name="fp32")
        pack(ExportRequest(model=config, runtime="onnxruntime", precision=precision, batch_size=batch_size), exported)
        model = ExportedModel.read(exported)
        assert [spec.shape for spec in model.inputs] == [(batch_size, 64), (batch_size, 32)]
        assert model.facts["gmacs"] == pytest.approx((64 + 32) * 8 / 1e9)
