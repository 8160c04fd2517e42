"""A user's `.onnx` file: fixed to the requested shape, counted, and run without optimisation as the reference."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError, ExportError, IdentityError
from frm_mlflow.export.pack import pack
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.measure import Identity
from frm_mlflow.measure.tolerance import check_identity
from frm_mlflow.worker.identity import agreement
from frm_mlflow.worker.manifest import REFERENCE_NAME, ExportedModel
from frm_mlflow.worker.sessions.base import Target
from frm_mlflow.worker.sessions.onnx_runtime import OnnxRuntimeSession
from frm_mlflow.zoo.build import build
from frm_mlflow.zoo.flops import count

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
"""torch marks its tracing exporters as deprecated, but nothing else is as fast yet."""


@pytest.fixture(scope="module")
def dynamic_file(tmp_path_factory):
    """SqueezeNet with free batch size and input size."""
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
    exported_model = ExportedModel.read(tmp_path)
    assert [(spec.name, spec.shape) for spec in exported_model.inputs] == [("x", (2, 3, 224, 224))]
    expected = count(build(ModelConfig(name="squeezenet1_1")).recipe)
    assert exported_model.facts["gmacs"] == pytest.approx(expected.gmacs)
    assert exported_model.facts["params_m"] == pytest.approx(expected.params_m)
    assert exported_model.facts["compute_nodes"] == expected.compute_ops
    assert exported_model.facts["family"] == "efficient"
    session = onnxruntime.InferenceSession(tmp_path / exported_model.file)
    arrays = np.load(tmp_path / REFERENCE_NAME)
    np.testing.assert_allclose(session.run(None, {"x": arrays["input_0"]})[0], arrays["output_0"], rtol=1e-3, atol=1e-4)


def test_a_free_axis_without_a_setting_names_the_setting(dynamic_file, tmp_path):
    with pytest.raises(ConfigError, match=r"axis 2 of input 'x' is free: set model\.input_size"):
        pack(request(dynamic_file), tmp_path)


def test_a_fixed_axis_cannot_be_changed(tmp_path):
    fixed = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "agraph (float[1, 3, 64, 64] x) => (float[1, 3, 64, 64] y) { y = Relu(x) }"
    )
    facts_of(fixed, tmp_path)
    with pytest.raises(ConfigError, match="has 1 on axis 0, not the 2 asked for: set batch_size=1"):
        facts_of(fixed, tmp_path, batch_size=2)
    with pytest.raises(ConfigError, match="has 64 on axis 2, not the 96 asked for"):
        facts_of(fixed, tmp_path, input_size=96)


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
    graph = onnx.helper.make_graph([node], "g", [x], [y], [weights])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


def facts_of(model: onnx.ModelProto, folder, **settings):
    """Return the facts about a model after it is saved, packed and run."""
    model.ir_version = 8
    path = folder / "net.onnx"
    onnx.save(model, path)
    (folder / "out").mkdir(exist_ok=True)
    pack(request(path, **settings), folder / "out")
    return ExportedModel.read(folder / "out")


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_macs_of_one_matrix_product_by_hand(operator, tmp_path):
    facts = facts_of(linear(operator), tmp_path, batch_size=2).facts
    assert facts["gmacs"] * 1e9 == pytest.approx(8 * 4)
    assert facts["params_m"] * 1e6 == pytest.approx(8 * 4)
    assert facts["uncounted_ops"] == []


def test_an_einsum_of_two_operands_counts_every_index_once(tmp_path):
    facts = facts_of(linear("Einsum", equation="nk,km->nm"), tmp_path, batch_size=2).facts
    assert facts["gmacs"] * 1e9 == pytest.approx(8 * 4)


def test_an_operator_without_formula_is_named_and_withholds_flops(tmp_path):
    signal = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> agraph (float[1, 16, 1] x) => (float[1, 16, 2] y) { y = DFT(x) }'
    )
    facts = facts_of(signal, tmp_path).facts
    assert "gmacs" not in facts
    assert facts["uncounted_ops"] == ["DFT"]


def test_a_network_without_products_has_no_flops_and_says_why(tmp_path):
    relu = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> agraph (float[1, 16] x) => (float[1, 16] y) { y = Relu(x) }'
    )
    facts = facts_of(relu, tmp_path).facts
    assert "gmacs" not in facts
    assert facts["uncounted_ops"] == ["none: no matrix product or convolution"]


FUNCTION = """
<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
agraph (float[N, 16] x) => (float[N, 16] y)
<float[16, 16] w = {WEIGHTS}>
{ p = own.Block(x, w) y = MatMul(p, w) }
<domain: "own", opset_import: ["" : 17]>
Block (a, b) => (c) { c = MatMul(a, b) }
""".replace("WEIGHTS", ",".join(["0.1"] * 256))


def test_products_inside_a_function_are_counted(tmp_path):
    facts = facts_of(onnx.parser.parse_model(FUNCTION), tmp_path).facts
    assert facts["gmacs"] * 1e9 == pytest.approx(2 * 16 * 16)
    assert facts["compute_nodes"] == 2


def test_products_inside_a_loop_count_as_often_as_they_run(tmp_path):
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    kinds = onnx.TensorProto
    body = onnx.helper.make_graph(
        [make("MatMul", ["s", "w"], ["s2"]), make("Identity", ["c"], ["c2"])],
        "body",
        [value("i", kinds.INT64, []), value("c", kinds.BOOL, []), value("s", kinds.FLOAT, [1, 8])],
        [value("c2", kinds.BOOL, []), value("s2", kinds.FLOAT, [1, 8])],
    )
    stored = {"w": np.eye(8, dtype=np.float32), "n": np.array(3), "t": np.array(True)}
    graph = onnx.helper.make_graph(
        [make("Loop", ["n", "t", "x"], ["y"], body=body)],
        "g",
        [value("x", kinds.FLOAT, [1, 8])],
        [value("y", kinds.FLOAT, [1, 8])],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    assert facts_of(model, tmp_path).facts["gmacs"] * 1e9 == pytest.approx(3 * 8 * 8)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers_count_input_and_state_products(kind, directions, tmp_path):
    cell = getattr(torch.nn, kind)(20, 24, bidirectional=directions == 2).eval()
    path = tmp_path / "net.onnx"
    torch.onnx.export(cell, (torch.zeros(12, 1, 20),), path, input_names=["x"], opset_version=17, dynamo=False)
    pack(request(path, inputs={"x": [12, "batch", 20]}), tmp_path)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    facts = ExportedModel.read(tmp_path).facts
    assert facts["gmacs"] * 1e9 == pytest.approx(12 * directions * gates * 24 * (20 + 24))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("is_constant", [False, True])
def test_parameters_count_in_every_float_type_and_as_constants(dtype, is_constant, tmp_path):
    weights = onnx.numpy_helper.from_array(np.ones((8, 4), dtype), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    constant = onnx.helper.make_node("Constant", [], ["w"], value=weights)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x, y = (onnx.helper.make_tensor_value_info(n, kind, s) for n, s in (("x", ["b", 8]), ("y", ["b", 4])))
    nodes, stored = ([constant, node], []) if is_constant else ([node], [weights])
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [x], [y], stored), opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    exported_model = facts_of(model, tmp_path)
    assert exported_model.facts["params_m"] * 1e6 == pytest.approx(32)
    assert exported_model.facts["weights_mib"] * 2**20 == pytest.approx(32 * np.dtype(dtype).itemsize)
    assert exported_model.precision == {2: "fp16", 4: "fp32", 8: "fp64"}[np.dtype(dtype).itemsize]


def quantised(path, target, **settings):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Batches(CalibrationDataReader):
        def __init__(self):
            self._feeds = iter([{"x": np.ones((2, 8), np.float32)}])

        def get_next(self):
            return next(self._feeds, None)

    quantize_static(str(path), str(target), Batches(), **settings)


@pytest.mark.parametrize("format_name", ["QDQ", "QOperator"])
def test_a_statically_quantised_file_is_int8(format_name, tmp_path):
    from onnxruntime.quantization import QuantFormat

    model = linear("MatMul")
    model.ir_version = 8
    onnx.save(model, tmp_path / "float.onnx")
    quantised(tmp_path / "float.onnx", tmp_path / "net.onnx", quant_format=QuantFormat[format_name])
    pack(request(tmp_path / "net.onnx", batch_size=2), tmp_path)
    exported_model = ExportedModel.read(tmp_path)
    assert exported_model.precision == "int8"
    assert exported_model.facts["float_nodes"] == 0
    assert exported_model.facts["params_m"] * 1e6 == pytest.approx(32)
    assert exported_model.facts["gmacs"] * 1e9 == pytest.approx(32)


def test_a_dynamically_quantised_file_is_int8(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    model = linear("MatMul")
    model.ir_version = 8
    onnx.save(model, tmp_path / "float.onnx")
    quantize_dynamic(str(tmp_path / "float.onnx"), str(tmp_path / "net.onnx"))
    pack(request(tmp_path / "net.onnx", batch_size=2), tmp_path)
    assert ExportedModel.read(tmp_path).precision == "int8"


TOKENS = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (int64[batch, seq] ids, int64[batch, seq] attention_mask) => (float[batch, seq, 4] y)
<float[50, 4] table = {WEIGHTS}>
{ rows = Gather(table, ids) m = Cast<to=1>(attention_mask) axes = Constant<value = int64[1] {-1}>()
  wide = Unsqueeze(m, axes) y = Mul(rows, wide) }
""".replace("WEIGHTS", ",".join(["0.5"] * 200))


def test_token_ids_stay_within_the_table_and_masks_keep_all(tmp_path):
    exported_model = facts_of(onnx.parser.parse_model(TOKENS), tmp_path, axes={"seq": 64})
    arrays = np.load(tmp_path / "out" / REFERENCE_NAME)
    assert [spec.shape for spec in exported_model.inputs] == [(1, 64), (1, 64)]
    assert arrays["input_0"].min() >= 0
    assert arrays["input_0"].max() < 50
    assert len(np.unique(arrays["input_0"])) > 10
    assert (arrays["input_1"] == 1).all()
    assert exported_model.loader["free_dimensions"] == {"batch": 1, "seq": 64}


def test_an_input_is_taken_from_a_file_and_within_a_range(tmp_path):
    ids = np.arange(6).reshape(1, 6)
    np.savez(tmp_path / "in.npz", ids=ids)
    inputs = {"ids": {"file": str(tmp_path / "in.npz")}, "attention_mask": {"shape": ["batch", 6], "low": 0, "high": 0}}
    facts_of(onnx.parser.parse_model(TOKENS), tmp_path, batch_size=2, inputs=inputs)
    arrays = np.load(tmp_path / "out" / REFERENCE_NAME)
    assert (arrays["input_0"] == np.repeat(ids, 2, axis=0)).all()
    assert (arrays["input_1"] == 0).all()


def test_a_free_axis_names_every_setting_that_gives_its_size(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.axes\.seq=SIZE.*model\.inputs\.ids=\[batch,"):
        facts_of(onnx.parser.parse_model(TOKENS), tmp_path)


def test_an_input_that_the_file_lacks_lists_those_it_has(tmp_path):
    with pytest.raises(ConfigError, match="no input 'tokens', it has ids, attention_mask"):
        facts_of(onnx.parser.parse_model(TOKENS), tmp_path, inputs={"tokens": ["batch", 3]})


def test_a_state_and_a_scalar_are_taken_as_the_file_has_them(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]>
    agraph (float[N, 8] x, float[2, 1, 8] state, float gain) => (float[2, N, 8] y)
    { a = Mul(x, gain) y = Add(a, state) }
    """
    exported_model = facts_of(onnx.parser.parse_model(text), tmp_path)
    assert [spec.shape for spec in exported_model.inputs] == [(1, 8), (2, 1, 8), ()]


def test_external_data_travels_with_the_file_and_must_be_inside(tmp_path):
    (tmp_path / "m").mkdir()
    big = linear("MatMul")
    big.ir_version = 8
    del big.graph.initializer[:]
    big.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 4), np.float32), "w"))
    onnx.external_data_helper.convert_model_to_external_data(big, location="w.bin", size_threshold=0)
    onnx.save(big, tmp_path / "m" / "net.onnx")
    pack(request(tmp_path / "m" / "net.onnx", batch_size=2), tmp_path)
    facts = ExportedModel.read(tmp_path).facts
    assert (tmp_path / "w.bin").stat().st_size == 128
    assert facts["params_m"] * 1e6 == pytest.approx(32)
    assert facts["weights_mib"] * 2**20 == pytest.approx(128)
    (tmp_path / "m" / "w.bin").unlink()
    with pytest.raises(ConfigError, match=r"needs 'w\.bin' in the same folder"):
        pack(request(tmp_path / "m" / "net.onnx", batch_size=2), tmp_path)


SEQUENCE = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[N, 8] x) => (seq(float[N, 8]) y) { a = Relu(x) y = SequenceConstruct(x, a) }
"""


def test_a_sequence_is_compared_by_its_tensors(tmp_path):
    model = onnx.parser.parse_model(SEQUENCE)
    exported_model = facts_of(model, tmp_path)
    assert [(spec.name, spec.shape) for spec in exported_model.outputs] == [("y[0]", (1, 8)), ("y[1]", (1, 8))]
    assert (tmp_path / "out" / exported_model.file).read_bytes() == (tmp_path / "net.onnx").read_bytes()
    session = OnnxRuntimeSession(Target())
    session.load(tmp_path / "out", exported_model)
    arrays = np.load(tmp_path / "out" / REFERENCE_NAME)
    session.prepare([arrays["input_0"]])
    session.run()
    got = session.outputs()
    assert agreement(got, [arrays["output_0"], arrays["output_1"]]).cosine == pytest.approx(1.0)


def faint_detector() -> onnx.ModelProto:
    """A text detector that finds nothing: its sigmoid map is 1e-6 everywhere."""
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array((rng.standard_normal((1, 3, 3, 3)) * 0.1).astype(np.float32), "w"),
        onnx.numpy_helper.from_array(np.array([-14.5], np.float32), "b"),
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["a"], kernel_shape=[3, 3]),
        onnx.helper.make_node("Sigmoid", ["a"], ["y"]),
    ]
    shapes = {"x": [1, 3, 64, 64], "y": [1, 1, 62, 62]}
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in shapes.items())
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


@pytest.mark.parametrize(("factor", "accepted"), [(1.0, True), (1000.0, False)])
def test_outputs_within_rounding_are_accepted(factor, accepted, tmp_path):
    exported_model = facts_of(faint_detector(), tmp_path)
    session = OnnxRuntimeSession(Target())
    session.load(tmp_path / "out", exported_model)
    arrays = np.load(tmp_path / "out" / REFERENCE_NAME)
    assert arrays["output_0"].max() < 1e-5
    session.prepare([arrays["input_0"]])
    session.run()
    found = agreement([factor * output for output in session.outputs()], [arrays["output_0"]])
    identity = Identity(found.cosine, found.max_abs_error, found.max_rel_error)
    with nullcontext() if accepted else pytest.raises(IdentityError):
        check_identity(identity, finite=found.finite, model="faint", precision=exported_model.precision)
