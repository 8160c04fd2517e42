"""The plan of a sweep, composed by Hydra from the real configuration."""

from collections.abc import Iterator, Sequence

import hydra
import pytest
from hydra.errors import HydraException

from frm_mlflow.errors import ConfigError
from frm_mlflow.sweep.plan import BenchmarkPlan, plan_benchmarks
from frm_mlflow.zoo.catalogue import PAPER_MODELS


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    with hydra.initialize_config_module("frm_mlflow.conf", version_base="1.3"):
        yield


def planned(overrides: Sequence[str]) -> tuple[BenchmarkPlan, ...]:
    def compose(words: list[str]):
        return hydra.compose("bench", overrides=words)

    return plan_benchmarks(compose(list(overrides)), overrides, compose)


def labels(plans: Sequence[BenchmarkPlan]) -> list[str]:
    return [plan.label for plan in plans]


def test_one_model_is_planned_after_its_baseline() -> None:
    plans = planned(["model=resnet18"])

    assert labels(plans) == ["resnet50 · onnxruntime · fp32", "resnet18 · onnxruntime · fp32"]
    assert [plan.is_baseline for plan in plans] == [True, False]


def test_lists_multiply_and_every_configuration_has_its_own_baseline() -> None:
    plans = planned(["models=[resnet18,levit_128s]", "runtimes=[torch,onnxruntime]", "precisions=[fp32,int8]"])

    assert len(plans) == 2 * 2 * 3
    assert [plan.is_baseline for plan in plans] == [True, False, False] * 4


def test_the_baseline_among_the_models_is_planned_once() -> None:
    assert labels(planned(["models=[resnet18,resnet50,resnet18]"])) == labels(planned(["models=[resnet18]"]))


def test_paper_stands_for_its_13_models() -> None:
    assert {plan.settings.model.name for plan in planned(["models=[paper]"])} == set(PAPER_MODELS)


def test_settings_reach_every_benchmark_and_the_input_size_reaches_the_baseline() -> None:
    plans = planned(["models=[resnet18]", "measure.runs=321", "batch_size=4", "model.input_size=160"])

    assert {(p.settings.measure.runs, p.settings.measure.batch_size) for p in plans} == {(321, 4)}
    assert {p.settings.model.input_size for p in plans} == {160}


def test_a_librarys_model_by_name_does_not_touch_the_baseline() -> None:
    plans = planned(["models=[timm:vit_tiny_patch16_224]"])

    assert [p.settings.model.name for p in plans] == ["resnet50", "vit_tiny_patch16_224"]
    assert planned(["model=timm", "model.name=vit_tiny_patch16_224"])[1].settings.model == plans[1].settings.model


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(HydraException, match="mobilenet_v2"):
        planned(["models=[mobilenet_v22]"])
    with pytest.raises(ConfigError, match="torchvision or timm"):
        planned(["models=[keras:vgg]"])


def test_what_is_measured_decides_the_hash_and_where_it_is_logged_does_not() -> None:
    def hashes(*overrides: str) -> list[str]:
        return [p.config_hash(device="cpu", chip="x") for p in planned(["model=resnet18", *overrides])]

    assert hashes() == hashes("tracking.experiment=other", "json=true")
    assert set(hashes()).isdisjoint(hashes("measure.runs=500"))
    assert set(hashes()).isdisjoint(hashes("batch_size=2"))
