"""What is rejected before anything is exported, without running any of the user's code."""

from __future__ import annotations

import pytest

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.export.check import check_model, find_factory

FP32 = PrecisionConfig(name="fp32")


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "frm_pk" / "parts"
    folder.mkdir(parents=True)
    (tmp_path / "frm_pk" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (folder / "nets.py").write_text("from os import path as p\nbuild = lambda: 1\nclass Net: ...\ndef make(): ...\n")
    (folder / "star.py").write_text("from math import *\n")
    return folder


@pytest.mark.parametrize("name", ["make", "Net", "build", "p"])
def test_a_factory_is_found_without_importing_its_package(package, name):
    assert find_factory(f"frm_pk.parts.nets:{name}", setting="model.target") == package / "nets.py"


def test_a_missing_name_suggests_the_nearest(package):
    with pytest.raises(ConfigError, match=r"has no callable 'mke'\. Did you mean make"):
        find_factory("frm_pk.parts.nets:mke", setting="model.target")


def test_a_name_that_only_running_the_module_can_tell_is_accepted(package):
    assert find_factory("frm_pk.parts.star:sqrt", setting="model.target") == package / "star.py"


@pytest.mark.parametrize("target", ["frm_pk.absent:make", "frm_absent:make", "frm_pk.parts.nets.more:make"])
def test_a_missing_module_names_the_working_directory(package, target):
    with pytest.raises(ConfigError, match=r"no module 'frm_.*working directory"):
        find_factory(target, setting="model.target")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "pt2", "path": "absent.pt2"}, "model.path: there is no file 'absent.pt2'"),
        ({"source": "onnx", "path": "absent.onnx"}, "model.path: there is no file 'absent.onnx'"),
        ({"inputs": {"x": {"file": "absent.npy"}}}, r"model\.inputs\.x\.file: 'absent.npy'"),
        ({"inputs": {"x": {"dtype": "int64"}}}, r"model\.inputs\.x needs a shape or a file"),
        ({"example": "frm_pk.parts.nets:absent"}, r"model\.example=frm_pk\.parts\.nets:absent"),
    ],
)
def test_missing_files_and_shapes_are_named(package, settings, message):
    target = {"source": "target", "target": "frm_pk.parts.nets:make"}
    with pytest.raises(ConfigError, match=message):
        check_model(ModelConfig(name="m", **(target | settings)), FP32, batch_size=1)


def test_a_calibration_file_must_exist():
    with pytest.raises(ConfigError, match=r"precision\.calibration: there is no file"):
        check_model(ModelConfig(name="m"), PrecisionConfig(name="int8", calibration="absent.npz"), batch_size=1)
