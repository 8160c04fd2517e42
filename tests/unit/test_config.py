from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import get_type_hints

import pytest
from omegaconf import DictConfig

from frm_mlflow.config import (
    AttachConfig,
    BenchConfig,
    DeviceConfig,
    GateConfig,
    IngestConfig,
    MeasureConfig,
    ModelConfig,
    checked,
)
from frm_mlflow.errors import ConfigError
from frm_mlflow.sweep.compose import composed

GOOD = {
    "model": {"name": "resnet18"},
    "device": {"name": "cpu", "tier": "cpu", "kind": "cpu"},
    "runtime": {"name": "torch"},
    "precision": {"name": "fp32"},
    "measure": {"runs": 200},
    "tracking": {},
}


def test_a_good_configuration_becomes_frozen_objects() -> None:
    config = checked(BenchConfig, GOOD, where="bench")

    assert config.model == ModelConfig(name="resnet18")
    assert config.measure.runs == 200
    with pytest.raises(AttributeError):
        config.measure.runs = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modell": {}}, "modell"),
        ({"measure": {"run": 5}}, r"bench\.measure\.run"),
        ({"measure": {"runs": "many"}}, "many"),
        ({"measure": {"runs": 0}}, "at least 1, got 0"),
        ({"measure": {"runs": 10, "max_runs": 5}}, "max_runs"),
        ({"measure": {"launches": 0}}, "launches must be at least 1"),
        ({"measure": {"confidence": 2}}, "confidence"),
        ({"model": {}}, "name"),
        ({"model": {"name": "x", "source": "keras"}}, "torchvision, timm, target, onnx"),
        ({"model": {"name": "x", "source": "onnx"}}, r"model\.path"),
        ({"model": {"name": "x", "source": "target"}}, r"model\.target"),
    ],
)
def test_a_bad_setting_is_named_at_the_door(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(BenchConfig, GOOD | change, where="bench")


def test_nested_rules_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="vendor"):
        checked(DeviceConfig, GOOD["device"] | {"recognise": {"vendor": "x"}}, where="device")  # type: ignore[operator]
    assert checked(MeasureConfig, {}, where="measure") == MeasureConfig()


GATE = {key: value for key, value in GOOD.items() if key != "model"} | {"candidate": "new.onnx", "against": "old.onnx"}


@pytest.mark.parametrize(
    ("text", "ratio"), [("5%", 1.05), ("0.05", 1.05), ("0%", 1.0), ("0", 1.0), ("500%", 6.0), ("2.5 %", 1.025)]
)
def test_a_regression_is_a_percentage_or_a_share(text: str, ratio: float) -> None:
    assert checked(GateConfig, GATE | {"max_regression": text}, where="gate").largest_ratio == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["5", "1", "1.05", "100"])
def test_a_bare_number_for_a_regression_is_refused_with_both_readings(text: str) -> None:
    percent = f"max_regression={float(text):g}%"
    times = f"max_regression={100 * float(text):g}%"

    with pytest.raises(ConfigError) as refused:
        checked(GateConfig, GATE | {"max_regression": text}, where="gate")
    assert percent in str(refused.value)
    assert times in str(refused.value)


@pytest.mark.parametrize("text", ["nan", "-5%", "inf", "five", "1e300%", ""])
def test_a_regression_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="percentage or a share"):
        checked(GateConfig, GATE | {"max_regression": text}, where="gate")


@pytest.mark.parametrize("limits", [{"max_latency_ms": -1.0}, {"max_latency_ms": 1e300}, {"max_frm": 0.0}])
def test_limits_that_cannot_be_true_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="max_"):
        checked(GateConfig, GATE | {"against": None} | limits, where="gate")


@pytest.mark.parametrize(
    ("change", "remedy"), [({"max_drift": 10}, "0.1"), ({"measure": {"target_interval": 3}}, "0.03")]
)
def test_other_shares_are_refused_above_one(change: dict[str, object], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        checked(BenchConfig, GOOD | change, where="bench")


def test_the_batch_size_is_set_in_one_place() -> None:
    with pytest.raises(ConfigError, match=r"measure\.batch_size=8 follows batch_size=1: set batch_size=8"):
        checked(BenchConfig, GOOD | {"measure": {"batch_size": 8}}, where="bench")
    batched = checked(BenchConfig, GOOD | {"measure": {"batch_size": 8}, "batch_size": 8}, where="bench")
    assert batched.measure.batch_size == batched.batch_size == 8


def differing_defaults(cls: type, node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the keys whose default in the dataclass is not that of the file in conf/."""
    types = get_type_hints(cls)
    for item in fields(cls):
        if item.name not in node or node[item.name] is None:
            continue
        if is_dataclass(types[item.name]):
            yield from differing_defaults(types[item.name], node[item.name], f"{prefix}{item.name}.")
        elif item.default is not MISSING and node[item.name] != item.default:
            yield prefix + item.name


@pytest.mark.parametrize(
    ("command", "cls", "meant"),
    [
        ("bench", BenchConfig, set()),
        ("attach", AttachConfig, set()),
        ("gate", GateConfig, {"measure.target_interval", "junit", "markdown"}),  # a gate measures until it can decide
        ("ingest", IngestConfig, {"source.version"}),  # the group aihub names its release
    ],
)
def test_files_and_dataclasses_have_the_same_defaults(command: str, cls: type, meant: set[str]) -> None:
    assert set(differing_defaults(cls, composed(command))) == meant
