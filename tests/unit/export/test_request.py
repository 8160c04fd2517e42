"""The cache key changes with everything that goes into an exported model, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.export import request as module
from frm_mlflow.export.request import ExportRequest

BASE = ExportRequest(
    model=ModelConfig(name="resnet18"), runtime="onnxruntime", precision=PrecisionConfig(name="fp32"), batch_size=1
)


@pytest.mark.parametrize(
    "change",
    [
        {"model": ModelConfig(name="resnet50")},
        {"model": ModelConfig(name="resnet18", seed=1)},
        {"model": ModelConfig(name="resnet18", input_size=160)},
        {"model": ModelConfig(name="resnet18", weights="own")},
        {"runtime": "openvino"},
        {"precision": PrecisionConfig(name="int8")},
        {"precision": PrecisionConfig(name="fp32", calibration_samples=8)},
        {"batch_size": 8},
    ],
    ids=str,
)
def test_key_changes_with_what_is_asked(change):
    assert replace(BASE, **change).key() != BASE.key()


def test_key_changes_with_a_library_s_version(monkeypatch):
    before = BASE.key()
    monkeypatch.setattr(module, "versions", lambda *_: {"torch": "0"})
    assert BASE.key() != before


def test_torch_and_torch_compile_share_an_exported_model():
    assert replace(BASE, runtime="torch").key() == replace(BASE, runtime="torch_compile").key()


def test_request_survives_json():
    assert ExportRequest.from_json(BASE.to_json()) == BASE
    assert ExportRequest.from_json(BASE.to_json()).key() == BASE.key()


def test_key_changes_with_an_onnx_file_s_content(tmp_path):
    path = tmp_path / "m.onnx"
    request = replace(BASE, model=ModelConfig(name="m", source="onnx", path=str(path)))
    path.write_bytes(b"a")
    before = request.key()
    path.write_bytes(b"b")
    assert request.key() != before


def test_key_changes_with_a_user_s_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "frm_test_nets.py"
    request = replace(BASE, model=ModelConfig(name="m", source="target", target="frm_test_nets:make"))
    source.write_text("def make(): ...\n")
    before = request.key()
    source.write_text("def make(width=2): ...\n")
    assert request.key() != before


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        (ModelConfig(name="m", source="onnx", path="/nowhere/m.onnx"), "model.path"),
        (ModelConfig(name="m", source="target", target="frm_no_such_module:make"), "model.target"),
    ],
)
def test_a_missing_file_names_the_setting(model, setting):
    with pytest.raises(ConfigError, match=setting):
        replace(BASE, model=model).key()
