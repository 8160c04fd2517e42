"""Networks that are not image classifiers: exported, run by the worker's session, compared with torch."""

from __future__ import annotations

import numpy as np
import pytest

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.export.pack import pack
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.worker.identity import agreement, numbered_arrays
from frm_mlflow.worker.manifest import REFERENCE_NAME, ExportedModel
from frm_mlflow.worker.sessions import open_session
from frm_mlflow.worker.sessions.base import Target

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
"""torch and its converters warn about their own deprecations."""

EVERYWHERE = ("torch", "torch_export", "onnxruntime", "openvino")
KINDS = {
    "BothWays": ({"input_shape": [7, 8]}, EVERYWHERE),
    "Masked": (
        {
            "inputs": {
                "ids": {"shape": ["batch", "seq"], "dtype": "int64"},
                "mask": {"shape": ["batch", "seq"], "dtype": "int64"},
            },
            "axes": {"seq": 9},
        },
        EVERYWHERE,
    ),
    "TwoInputs": ({"inputs": {"a": ["batch", 8], "b": ["batch", 5], "gain": []}}, EVERYWHERE),
    "Stateful": (
        {"inputs": {"x": ["batch", 3, 8], "h": [1, "batch", 6], "c": [1, "batch", 6]}},
        ("torch", "onnxruntime", "openvino"),
    ),
    "Mixed": ({"input_shape": [3, 4, 4]}, EVERYWHERE),
    "Suppressing": ({"inputs": {"x": [20, 4]}}, ("torch", "onnxruntime")),
    "Bag": ({"inputs": {"ids": {"shape": ["batch", 5], "dtype": "int64"}}}, ("torch", "torch_export", "onnxruntime")),
    "Detector": ({"example": "odd_networks:pictures"}, ("torch", "onnxruntime")),
    "Answering": ({"input_shape": [6]}, ("torch", "onnxruntime", "openvino")),
    "scripted": ({"input_shape": [6]}, ("torch", "torchscript", "onnxruntime")),
    "dynamically_quantised": ({"input_shape": [6]}, ("torch",)),
    "spectral": ({"input_shape": [16]}, ("torch",)),
}
CASES = [(name, runtime) for name, (_, runtimes) in KINDS.items() for runtime in runtimes]


def packed(name, runtime, folder, *, batch_size=2):
    model = ModelConfig(name=name, source="target", target=f"odd_networks:{name}", **KINDS[name][0])
    pack(
        ExportRequest(model=model, runtime=runtime, precision=PrecisionConfig(name="fp32"), batch_size=batch_size),
        folder,
    )
    return ExportedModel.read(folder)


@pytest.mark.parametrize(("name", "runtime"), CASES)
def test_a_worker_computes_what_the_network_computes(name, runtime, tmp_path):
    exported_model = packed(name, runtime, tmp_path)
    session = open_session(runtime, Target())
    session.warm(exported_model)
    session.load(tmp_path, exported_model)
    session.prepare(numbered_arrays(tmp_path / REFERENCE_NAME, "input_"))
    assert session.placement().kind == "cpu"
    session.run()
    found = agreement(session.outputs(), numbered_arrays(tmp_path / REFERENCE_NAME, "output_"))
    assert found.finite
    assert found.cosine > 0.999


def test_flops_do_not_depend_on_the_runtime_and_are_those_by_hand(tmp_path):
    for runtime in ("torch", "onnxruntime"):
        (tmp_path / runtime).mkdir()
        facts = packed("TwoInputs", runtime, tmp_path / runtime).facts
        assert facts["gmacs"] * 1e9 == pytest.approx(8 * 4 + 5 * 4)
        assert "input_size" not in facts


def test_an_uncounted_operator_withholds_flops(tmp_path):
    facts = packed("spectral", "torch", tmp_path).facts
    assert "gmacs" not in facts
    assert any("fft" in name for name in facts["uncounted_ops"])


def test_token_ids_stay_below_the_size_of_the_table(tmp_path):
    exported_model = packed("Masked", "torch", tmp_path)
    ids, mask = numbered_arrays(tmp_path / REFERENCE_NAME, "input_")
    assert [spec.name for spec in exported_model.inputs] == ["ids", "mask"]
    assert ids.shape == (2, 9)
    assert 0 <= ids.min() <= ids.max() < 50
    assert (mask == 1).all()


def test_quantised_layers_are_int8(tmp_path):
    exported_model = packed("dynamically_quantised", "torch", tmp_path)
    assert exported_model.precision == "int8"
    assert exported_model.facts["float_nodes"] == 0


def test_integer_outputs_stay_integers(tmp_path):
    packed("Mixed", "torch", tmp_path)
    best = np.load(tmp_path / REFERENCE_NAME)["output_1"]
    assert best.dtype.kind == "i"
