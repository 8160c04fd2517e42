"""A user's own `.onnx` file: fixed to the asked shape, counted, run without optimisation as its own reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export.onnx_file import multiply_accumulates
from frm_mlflow.export.pack import pack
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.worker.manifest import REFERENCE_NAME, Artefact
from frm_mlflow.zoo.build import build
from frm_mlflow.zoo.flops import count

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
"""torch calls its tracing exporters deprecated; nothing replaces them yet at their speed."""


@pytest.fixture(scope="module")
def dynamic_file(tmp_path_factory):
    """SqueezeNet with free batch and size."""
    path = tmp_path_factory.mktemp("onnx") / "squeezenet.onnx"
    built = build(ModelConfig(name="squeezenet1_1"))
    free = {"x": {0: "n", 2: "h", 3: "w"}}
    torch.onnx.export(
        built.module, (built.example(),), path, input_names=["x"], output_names=["y"], dynamic_axes=free, dynamo=False
    )
    return path


def request(path, *, batch_size=1, **settings):
    model = ModelConfig(name="mine", source="onnx", path=str(path), **settings)
    return ExportRequest(
        model=model, runtime="onnxruntime", precision=PrecisionConfig(name="fp32"), batch_size=batch_size
    )


def test_free_axes_are_fixed_and_the_cost_is_torch_s(dynamic_file, tmp_path):
    pack(request(dynamic_file, batch_size=2, input_size=224, family="efficient"), tmp_path)
    artefact = Artefact.read(tmp_path)
    assert [(spec.name, spec.shape) for spec in artefact.inputs] == [("x", (2, 3, 224, 224))]
    expected = count(build(ModelConfig(name="squeezenet1_1")).recipe)
    assert artefact.facts["gmacs"] == pytest.approx(expected.gmacs)
    assert artefact.facts["params_m"] == pytest.approx(expected.params_m)
    assert artefact.facts["compute_nodes"] == expected.compute_ops
    assert artefact.facts["family"] == "efficient"
    session = onnxruntime.InferenceSession(tmp_path / artefact.file)
    arrays = np.load(tmp_path / REFERENCE_NAME)
    np.testing.assert_allclose(session.run(None, {"x": arrays["input_0"]})[0], arrays["output_0"], rtol=1e-3, atol=1e-4)


def test_a_free_axis_without_a_setting_names_the_setting(dynamic_file, tmp_path):
    with pytest.raises(ConfigError, match=r"axis 2 of input 'x' is free: set model\.input_size"):
        pack(request(dynamic_file), tmp_path)


def test_a_fixed_axis_cannot_be_changed(dynamic_file, tmp_path):
    (tmp_path / "fixed").mkdir()
    (tmp_path / "again").mkdir()
    pack(request(dynamic_file, input_size=64), tmp_path / "fixed")
    fixed = tmp_path / "fixed" / "model.onnx"
    pack(request(fixed), tmp_path / "again")
    with pytest.raises(ConfigError, match="has 1 on axis 0, not the 2 asked for"):
        pack(request(fixed, batch_size=2), tmp_path / "again")
    with pytest.raises(ConfigError, match="has 64 on axis 2, not the 96 asked for"):
        pack(replace(request(fixed), model=replace(request(fixed).model, input_size=96)), tmp_path / "again")


def test_an_onnx_file_is_for_onnxruntime_only_and_must_be_one(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not onnx")
    with pytest.raises(ExportError, match=r"takes no \.onnx file"):
        pack(replace(request(path), runtime="torch"), tmp_path)
    with pytest.raises(ConfigError, match="not a valid ONNX file"):
        pack(request(path), tmp_path)


def linear(operator: str, **attributes) -> onnx.ModelProto:
    weights = onnx.numpy_helper.from_array(np.ones((8, 4), np.float32), "w")
    node = onnx.helper.make_node(operator, ["x", "w"], ["y"], **attributes)
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", [2, 8]), ("y", [2, 4])))
    return onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y], [weights]))


def test_macs_of_one_matrix_product_by_hand():
    assert multiply_accumulates(linear("MatMul")) == 2 * 8 * 4
    assert multiply_accumulates(linear("Gemm")) == 2 * 8 * 4


def test_an_unknown_shape_gives_no_figure():
    model = linear("MatMul")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert multiply_accumulates(model) is None


def test_what_cannot_be_counted_gives_no_figure(tmp_path):
    path = tmp_path / "einsum.onnx"
    onnx.save(linear("Einsum", equation="nk,km->nm"), path)
    pack(request(path, batch_size=2), tmp_path)
    facts = Artefact.read(tmp_path).facts
    assert "gmacs" not in facts
    assert facts["uncounted_ops"] == ["Einsum"]
