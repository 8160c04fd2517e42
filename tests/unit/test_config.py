import pytest

from frm_mlflow.config import BenchConfig, DeviceConfig, MeasureConfig, ModelConfig, checked
from frm_mlflow.errors import ConfigError

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
