"""Every exporter on a small network: the exported model runs in its runtime and matches the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from user_networks import Residual

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export.pack import check_whole, pack, prepare
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.subject import Converted
from frm_mlflow.worker.identity import agreement
from frm_mlflow.worker.manifest import REFERENCE_NAME, ExportedModel
from frm_mlflow.worker.sessions import open_session
from frm_mlflow.worker.sessions.base import Target

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
"""torch marks its tracing exporters as deprecated, but nothing else is as fast yet."""

RESIDUAL = ModelConfig(
    name="residual", source="target", target="user_networks:residual", weights="random", input_size=32, family="hybrid"
)
COMPUTE_NODES = 7
"""For `user_networks.Residual`: three convolutions, two linear layers, two products in its attention."""

slow = pytest.mark.slow
CASES = [
    pytest.param("torch", "fp32", 0.99999),
    pytest.param("torch", "bf16", 0.99),
    pytest.param("onnxruntime", "fp32", 0.99999),
    pytest.param("onnxruntime", "int8", 0.98),
    pytest.param("openvino", "fp32", 0.99999),
    pytest.param("openvino", "int8", 0.98, marks=slow),
    pytest.param("torchscript", "fp32", 0.99999),
    pytest.param("torchscript", "bf16", 0.99, marks=slow),
    pytest.param("torch_compile", "fp32", 0.99999, marks=slow),
    pytest.param("litert", "fp32", 0.99999, marks=slow),
    pytest.param("litert", "int8", 0.98, marks=slow),
    pytest.param("executorch", "fp32", 0.99999, marks=slow),
    pytest.param("executorch", "int8", 0.98, marks=slow),
]


def request(runtime: str, precision: str = "fp32", *, model: ModelConfig = RESIDUAL, batch_size: int = 1):
    settings = PrecisionConfig(name=precision, calibration_samples=16)
    return ExportRequest(model=model, runtime=runtime, precision=settings, batch_size=batch_size)


def outputs_of(directory: Path, runtime: str) -> list[np.ndarray]:
    exported_model = ExportedModel.read(directory)
    session = open_session(runtime, Target(threads=1))
    session.warm(exported_model)
    session.load(directory, exported_model)
    session.prepare([np.load(directory / REFERENCE_NAME)["input_0"]])
    session.run()
    return session.outputs()


@pytest.mark.parametrize(("runtime", "precision", "cosine"), CASES)
def test_an_exported_model_computes_the_reference_with_its_facts(runtime, precision, cosine, tmp_path):
    pack(request(runtime, precision), tmp_path)
    reference = np.load(tmp_path / REFERENCE_NAME)["output_0"]
    assert agreement(outputs_of(tmp_path, runtime), [reference]).cosine > cosine
    exported_model = ExportedModel.read(tmp_path)
    facts = exported_model.facts
    assert (exported_model.model, exported_model.precision, facts["family"]) == ("residual", precision, "hybrid")
    assert facts["compute_nodes"] == COMPUTE_NODES
    assert facts["float_nodes"] <= (2 if precision == "int8" else COMPUTE_NODES)
    assert facts["file_bytes"] > 1e6 * facts["params_m"]
    assert facts["gmacs"] > 0
    assert facts["uncounted_ops"] == []
    assert exported_model.versions["torch"]


def test_a_batch_is_part_of_the_exported_model(tmp_path):
    pack(request("onnxruntime", batch_size=3), tmp_path)
    exported_model = ExportedModel.read(tmp_path)
    assert exported_model.inputs[0].shape == (3, 3, 32, 32)
    assert exported_model.outputs[0].shape == (3, 10)
    reference = np.load(tmp_path / REFERENCE_NAME)["output_0"]
    assert agreement(outputs_of(tmp_path, "onnxruntime"), [reference]).cosine > 0.99999


def test_a_torch_exported_model_is_a_recipe_and_tensors(tmp_path):
    pack(request("torch"), tmp_path)
    exported_model = ExportedModel.read(tmp_path)
    assert exported_model.loader == {"target": "user_networks:residual", "kwargs": {}, "dtype": "float32"}
    state = torch.load(tmp_path / exported_model.file, weights_only=True)
    assert set(state) == set(Residual().state_dict())


@pytest.mark.parametrize("lost", [{"compute_nodes": COMPUTE_NODES - 1}, {"size": 0.5}], ids=str)
def test_an_exported_model_that_lost_a_branch_is_refused(lost, tmp_path):
    subject = prepare(request("onnxruntime"))
    file = tmp_path / "model.bin"
    file.write_bytes(bytes(int(subject.cost.params_m * 4e6 * lost.get("size", 1))))
    whole = Converted(
        file=file,
        precision="fp32",
        inputs=(),
        outputs=(),
        nodes=9,
        compute_nodes=COMPUTE_NODES,
        float_nodes=COMPUTE_NODES,
    )
    with pytest.raises(ExportError, match="removed part of 'residual'"):
        check_whole(subject, replace(whole, compute_nodes=lost.get("compute_nodes", COMPUTE_NODES)))


@pytest.mark.slow
def test_litert_deletes_a_closed_branch_and_is_caught(tmp_path):
    model = replace(RESIDUAL, name="closed", target="user_networks:closed_gate", weights="own")
    with pytest.raises(ExportError, match="removed part of 'closed'"):
        pack(request("litert", model=model), tmp_path)


def calibrated(tmp_path: Path, **arrays) -> PrecisionConfig:
    path = tmp_path / "calibration.npz"
    np.savez(path, **arrays)
    return PrecisionConfig(name="int8", calibration=str(path))


def test_a_user_s_calibration_set_is_used(tmp_path):
    entries = []
    for name, scale in (("narrow", 0.01), ("wide", 1.0)):
        directory = tmp_path / name
        directory.mkdir()
        images = scale * np.random.default_rng(0).standard_normal((8, 3, 32, 32), dtype=np.float32)
        precision = calibrated(directory, images=images)
        pack(replace(request("onnxruntime"), precision=precision), directory)
        reference = np.load(directory / REFERENCE_NAME)["output_0"]
        entries.append(agreement(outputs_of(directory, "onnxruntime"), [reference]).max_abs_error)
    assert entries[0] > 2 * entries[1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros((8, 3, 32, 32), np.float32)}, "no .npz with an array 'images'"),
        ({"images": np.zeros((8, 3, 16, 16), np.float32)}, "must be floats of shape N x 3 x 32 x 32"),
        ({"images": np.zeros((8, 3, 32, 32), np.uint8)}, "must be floats"),
        ({"images": np.zeros((0, 3, 32, 32), np.float32)}, "holds 0 samples, one batch needs 1"),
    ],
    ids=["name", "shape", "dtype", "empty"],
)
def test_a_calibration_set_that_does_not_fit_is_refused(arrays, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        pack(replace(request("onnxruntime"), precision=calibrated(tmp_path, **arrays)), tmp_path)
