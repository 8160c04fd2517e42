from __future__ import annotations

import threading

import mlflow
import pytest
import torch
from torch import nn

import frm_mlflow
from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, ExportError

EXAMPLE = torch.zeros(2, 1, 8, 8)


@pytest.mark.oldest_mlflow
def test_a_real_benchmark_is_logged_to_the_active_run(tracking, net):
    net.train()
    with mlflow.start_run() as run:
        result = frm_mlflow.log_frm(
            net, EXAMPLE, baseline="squeezenet1_1", measure="quick", overrides=["runtime.threads=1"]
        )
    assert net.training
    data = tracking.get_run(run.info.run_id).data
    assert data.metrics["frm"] == pytest.approx(result.frm)
    assert data.metrics["frm"] == pytest.approx(
        (data.metrics["ratio/flops"] * data.metrics["ratio/latency"] * data.metrics["ratio/memory"]) ** (1 / 3)
    )
    # 4 filters of 3 x 3 on 6 x 6 positions and 144 x 10 weights, by hand
    assert data.metrics["compute/gmacs"] == pytest.approx((4 * 9 * 36 + 144 * 10) / 1e9)
    assert data.metrics["compute/effective_gmacs"] == pytest.approx(data.metrics["compute/gmacs"])
    assert data.tags["frm.model"] == "Net"
    assert data.tags["frm.runtime"] == "onnxruntime"
    assert data.tags["frm.baseline"] == "squeezenet1_1"
    folder = f"frm/{result.record.record_id}"
    assert {a.path for a in tracking.list_artifacts(run.info.run_id, folder)} == {
        f"{folder}/{name}" for name in ("samples.parquet", "environment.json", "config.yaml")
    }


def test_without_an_active_run_nothing_is_measured(net, measured_as):
    asked = measured_as()
    with pytest.raises(ConfigError, match=r"mlflow\.start_run\(\)"):
        frm_mlflow.log_frm(net, EXAMPLE)
    assert asked == []


def test_without_an_example_the_remedy_is_named(tracking, net, measured_as):
    measured_as()
    with mlflow.start_run(), pytest.raises(ConfigError, match="no example input"):
        frm_mlflow.log_frm(net)


def test_a_prefix_precedes_every_metric_and_tag(tracking, net, measured_as):
    measured_as()
    with mlflow.start_run() as run:
        frm_mlflow.log_frm(net, EXAMPLE, prefix="pi/")
    data = tracking.get_run(run.info.run_id).data
    assert all(key.startswith("pi/") for key in data.metrics)
    assert data.tags["pi/frm.device"]
    assert "frm.kind" not in data.tags


def test_each_configuration_needs_a_separate_prefix(tracking, net, measured_as):
    measured_as()
    with mlflow.start_run():
        frm_mlflow.log_frm(net, EXAMPLE)
        frm_mlflow.log_frm(net, EXAMPLE, step=1)  # logging the same model again gives a series
        with pytest.raises(ConfigError, match="choose another prefix"):
            frm_mlflow.log_frm(net, EXAMPLE, runtime="torch_export")
        frm_mlflow.log_frm(net, EXAMPLE, runtime="torch_export", prefix="graph/")


@pytest.mark.oldest_mlflow
def test_steps_make_a_curve(tracking, net, measured_as):
    with mlflow.start_run() as run:
        for step, ratio in ((10, 0.5), (20, 0.25)):
            measured_as((ratio, ratio, ratio))
            frm_mlflow.log_frm(net, EXAMPLE, step=step)
    history = tracking.get_metric_history(run.info.run_id, schema.RATIO_LATENCY.key)
    assert [(point.step, point.value) for point in history] == [(10, 0.5), (20, 0.25)]


@pytest.mark.oldest_mlflow
def test_an_ended_run_keeps_its_status_and_its_times(tracking, net, measured_as):
    measured_as()
    with mlflow.start_run() as run:
        pass
    before = tracking.get_run(run.info.run_id).info
    frm_mlflow.log_frm(net, EXAMPLE, run_id=run.info.run_id)
    after = tracking.get_run(run.info.run_id)
    assert after.data.metrics["frm"] > 0
    assert (after.info.status, after.info.start_time, after.info.end_time) == (
        before.status,
        before.start_time,
        before.end_time,
    )


def test_settings_that_do_not_exist_are_named(tracking, net, measured_as):
    measured_as()
    with mlflow.start_run(), pytest.raises(Exception, match="nonesuch"):
        frm_mlflow.log_frm(net, EXAMPLE, baseline="nonesuch")
    with mlflow.start_run(), pytest.raises(ConfigError, match=r"nn\.Module is needed"):
        frm_mlflow.log_frm(object(), EXAMPLE)


def test_the_callers_own_hydra_is_left_alone(tracking, net, measured_as):
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    measured_as()
    with initialize_config_module("frm_mlflow.conf", version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        with mlflow.start_run():
            frm_mlflow.log_frm(net, EXAMPLE)
        assert GlobalHydra.instance().hydra is outer
        assert compose("bench").baseline == "resnet50"


def test_no_random_state_changes(tracking, net, measured_as):
    import random

    import numpy as np

    measured_as()
    draws = (random.random, np.random.rand, lambda: torch.rand(1).item())
    with mlflow.start_run():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
        expected = [draw() for draw in draws]
        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
        frm_mlflow.log_frm(net, EXAMPLE)
    assert [draw() for draw in draws] == expected


def test_one_line_gives_frm_the_run_and_the_seconds(tracking, net, measured_as, capsys):
    measured_as()
    with mlflow.start_run() as run:
        result = frm_mlflow.log_frm(net, EXAMPLE)
    lines = [line for line in capsys.readouterr().err.splitlines() if "FRM" in line]
    assert lines == [f"FRM 0.5 of 'Net' was logged to run {run.info.run_id} ({result.seconds:.0f} s)."]
    assert str(result) == f"Net, FRM 0.5, 2 ms (0.5 of resnet50), run {run.info.run_id}"
    assert repr(result) == f"FrmResult({result})"


def test_the_innermost_of_nested_runs_gets_it(tracking, net, measured_as):
    measured_as()
    with mlflow.start_run() as outer, mlflow.start_run(nested=True) as inner:
        frm_mlflow.log_frm(net, EXAMPLE)
    assert "frm" in tracking.get_run(inner.info.run_id).data.metrics
    assert "frm" not in tracking.get_run(outer.info.run_id).data.metrics


def test_an_ended_run_gets_its_date_as_a_tag(tracking, net, measured_as):
    measured_as()
    with mlflow.start_run() as run:
        pass
    frm_mlflow.log_frm(net, EXAMPLE, run_id=run.info.run_id)
    data = tracking.get_run(run.info.run_id).data
    assert not [key for key in data.metrics if key.startswith("tracking/")]
    assert data.tags[schema.ATTACHED_ON.key].startswith("20")


def test_a_model_without_weights_is_refused_with_the_remedy(tracking, measured_as):
    measured_as()
    with torch.device("meta"):
        model = torch.nn.Linear(2, 2)
    with mlflow.start_run(), pytest.raises(ConfigError, match="load them"):
        frm_mlflow.log_frm(model, torch.zeros(1, 2))


def test_another_rank_than_0_measures_nothing(tracking, net, measured_as, monkeypatch):
    asked = measured_as()
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    assert frm_mlflow.log_frm(net, EXAMPLE) is None
    assert asked == []


class Boxes(nn.Module):
    """Takes a list of images, as torchvision's detectors do, and computes what depends on their content."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3)

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        found = [self.conv(image[None])[0, 0] for image in images]
        return [{"scores": scores if float(scores.mean()) > 0 else -scores} for scores in found]


IMAGES = ([torch.zeros(3, 16, 16)],)


def test_a_model_without_a_graph_is_measured_in_eager_torch(tracking, measured_as, capsys):
    asked = measured_as()
    with mlflow.start_run() as run:
        frm_mlflow.log_frm(Boxes(), IMAGES, overrides=["runtime.threads=1"])
    assert asked == ["Boxes"]
    assert tracking.get_run(run.info.run_id).data.tags["frm.runtime"] == "torch"
    fallback, frm = capsys.readouterr().err.splitlines()
    assert fallback.startswith("'Boxes' is measured in eager torch, with its baseline: it cannot be exported (")
    assert len(fallback) < 400, "a graph was printed"
    assert frm.startswith("FRM ")


@pytest.mark.slow
def test_a_detectors_image_keeps_its_axes(tracking):
    with mlflow.start_run() as run:
        frm_mlflow.log_frm(Boxes(), IMAGES, baseline="squeezenet1_1", measure="quick", overrides=["runtime.threads=1"])
    data = tracking.get_run(run.info.run_id).data
    assert data.tags["frm.resolution"] == "16"
    assert data.tags["frm.runtime"] == "torch"
    # one filter of 3 x 3 x 3 weights on 14 x 14 positions, by hand
    assert data.metrics["compute/gmacs"] == pytest.approx(27 * 14 * 14 / 1e9)


def test_a_model_that_cannot_be_pickled_either_is_refused(tracking, measured_as):
    asked = measured_as()
    model = Boxes()
    model.lock = threading.Lock()
    with mlflow.start_run(), pytest.raises(ExportError, match="neither be exported nor pickled"):
        frm_mlflow.log_frm(model, IMAGES)
    assert asked == []
