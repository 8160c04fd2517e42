from __future__ import annotations

from collections.abc import Iterator

import lightning.pytorch as pl
import mlflow
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import frm_mlflow
from frm_mlflow.errors import ConfigError, WorkerError
from frm_mlflow.integrations.lightning import FRMCallback
from tests.integrations.logged import log_onnx, log_torch


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    yield
    frm_mlflow.autolog(disable=True)


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch):
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callbacks: tuple[pl.Callback, ...] = (), *, epochs: int = 2) -> Module:
    pl.seed_everything(1)
    module = Module()
    data = TensorDataset(torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,)))
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data, batch_size=16, shuffle=True))
    return module


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.oldest_mlflow
def test_lightning_trains_to_the_same_weights_and_gets_its_frm(tracking, measured_as):
    plain = fit()
    random_state = torch.get_rng_state()
    asked = measured_as()
    frm_mlflow.autolog()
    with mlflow.start_run() as run:
        logged = fit()
    assert same(plain, logged)
    assert torch.equal(random_state, torch.get_rng_state())
    assert asked == ["Module"]
    assert tracking.get_run(run.info.run_id).data.metrics["frm"] > 0


def test_a_failed_benchmark_does_not_fail_training(tracking, measured_as, capsys):
    measured_as(error=WorkerError("the worker ran out of memory"))
    frm_mlflow.autolog()
    with mlflow.start_run() as run:
        fit(epochs=1)
    ended = tracking.get_run(run.info.run_id)
    assert ended.info.status == "FINISHED"
    assert "ran out of memory" in ended.data.tags["frm.reason"]
    assert [line for line in capsys.readouterr().err.splitlines() if "FRM" in line] == [ended.data.tags["frm.reason"]]


@pytest.mark.oldest_mlflow
def test_a_model_is_benchmarked_once_and_then_linked(tracking, measured_as):
    asked = measured_as()
    frm_mlflow.autolog()
    with mlflow.start_run() as run:
        module = fit(epochs=1)
        infos = [log_torch(module, name) for name in ("a", "b")]
    assert asked == ["Module"]
    frm = tracking.get_run(run.info.run_id).data.metrics["frm"]
    for info in infos:
        found = {metric.key: metric.value for metric in tracking.get_logged_model(info.model_id).metrics}
        assert found["frm"] == frm


def test_logging_a_model_measures_its_input_example(tracking, net, measured_as, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    asked = measured_as()
    frm_mlflow.autolog()
    with mlflow.start_run() as run:
        info = log_torch(net, "mine")
    assert asked == ["mine"]
    assert tracking.get_run(run.info.run_id).data.tags["frm.model_id"] == info.model_id
    with mlflow.start_run() as run:
        log_torch(nn.Linear(2, 2), "bare", input_example=None, serialization_format="pickle")
    assert "no example input" in tracking.get_run(run.info.run_id).data.tags["frm.reason"]
    assert "no example input" in capsys.readouterr().err


@pytest.mark.oldest_mlflow
def test_an_onnx_model_is_measured_once_by_its_content(tracking, measured_as, tmp_path):
    import onnx

    torch.onnx.export(nn.Linear(8, 2), (torch.zeros(1, 8),), tmp_path / "m.onnx", dynamo=False)
    asked = measured_as()
    frm_mlflow.autolog()
    with mlflow.start_run():
        for name in ("first", "again"):
            log_onnx(onnx.load(tmp_path / "m.onnx"), name)
    assert asked == ["first"]


def test_switched_off_nothing_is_measured(tracking, measured_as):
    asked = measured_as()
    frm_mlflow.autolog()
    frm_mlflow.autolog(disable=True)
    with mlflow.start_run():
        fit(epochs=1)
    assert asked == []


@pytest.mark.oldest_mlflow
def test_the_callback_logs_a_curve_over_epochs(tracking, measured_as):
    asked = measured_as()
    with mlflow.start_run() as run:
        fit((FRMCallback(every_n_epochs=2, name="curve"),), epochs=5)
    assert asked == ["curve"] * 3
    history = tracking.get_metric_history(run.info.run_id, "frm")
    assert [point.step for point in history] == [8, 16, 20]


def test_the_callback_refuses_what_makes_no_sense():
    with pytest.raises(ConfigError, match="every_n_epochs"):
        FRMCallback(every_n_epochs=0)


def test_transformers_training_is_not_changed(tracking, measured_as, tmp_path):
    from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

    from frm_mlflow.integrations.transformers import FRMCallback as TransformersCallback

    config = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    rows = [{"pixel_values": torch.full((1, 8, 8), i / 16), "labels": i % 2} for i in range(16)]

    def train(*callbacks):
        set_seed(3)
        model = ViTForImageClassification(config)
        arguments = TrainingArguments(
            output_dir=tmp_path,
            num_train_epochs=2,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        Trainer(model, arguments, train_dataset=rows, callbacks=list(callbacks)).train()
        return model

    plain = train()
    asked = measured_as()
    with mlflow.start_run() as run:
        assert same(plain, train(TransformersCallback(every_n_epochs=1)))
    assert [p.step for p in tracking.get_metric_history(run.info.run_id, "frm")] == [2, 4]
    frm_mlflow.autolog()
    with mlflow.start_run() as run:
        assert same(plain, train())
    assert asked == ["ViTForImageClassification"] * 3
    assert tracking.get_run(run.info.run_id).data.metrics["frm"] > 0


@pytest.mark.parametrize("mlflow_first", [True, False])
def test_beside_mlflows_autolog_the_one_run_gets_frm(tracking, measured_as, mlflow_first, capsys):
    asked = measured_as()
    mlflow.set_experiment(fit_name(mlflow_first))
    try:
        for turn_on in (mlflow.pytorch.autolog, frm_mlflow.autolog)[:: 1 if mlflow_first else -1]:
            turn_on()
        fit(epochs=1)
    finally:
        mlflow.pytorch.autolog(disable=True)
    found = tracking.get_experiment_by_name(fit_name(mlflow_first))
    (run,) = tracking.search_runs([found.experiment_id])
    assert asked == ["Module"]
    assert run.data.metrics["frm"] > 0
    assert "frm.reason" not in run.data.tags
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("FRM ")]) == 1


def fit_name(mlflow_first: bool) -> str:
    return f"both autologs, {'MLflow' if mlflow_first else 'frm-mlflow'} first"


def test_no_run_is_left_if_there_was_none_and_the_benchmark_fails(tracking, measured_as, capsys):
    experiment = mlflow.set_experiment("no run is left")
    measured_as(error=WorkerError("the worker ran out of memory"))
    frm_mlflow.autolog()
    fit(epochs=1)
    assert tracking.search_runs([experiment.experiment_id]) == []
    assert "ran out of memory" in capsys.readouterr().err


def test_lightnings_training_step_is_not_the_example():
    from lightning.pytorch.strategies.strategy import _ForwardRedirection

    from frm_mlflow.integrations.watch import FirstCall

    module = Module()
    watch = FirstCall(module)
    batch = (torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    _ForwardRedirection()(module, module, "training_step", batch)
    watch.stop()
    (argument,) = watch.call.args
    assert argument.shape == (1, 1, 8, 8)
    assert watch.model is module


def test_a_network_called_instead_of_its_module_is_the_example():
    from frm_mlflow.integrations.watch import FirstCall

    class Direct(Module):
        forward = pl.LightningModule.forward

        def training_step(self, batch):
            return self.net(batch).sum()

    module = Direct()
    watch = FirstCall(module)
    module.training_step(torch.zeros(4, 1, 8, 8))
    watch.stop()
    assert watch.call.args[0].shape == (1, 1, 8, 8)
    assert watch.model is module.net
