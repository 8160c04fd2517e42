"""`model.inputs`: what a user may write, and the error for each mistake."""

from __future__ import annotations

import numpy as np
import pytest

from frm_mlflow.config import ModelConfig
from frm_mlflow.config.inputs import InputSpec, input_specs
from frm_mlflow.errors import ConfigError
from frm_mlflow.zoo.inputs import Input, draw, inputs_of, picture_side


def one(name="x", shape=(4, 16), dtype="float32", largest=None, **spec) -> np.ndarray:
    return draw([Input(name, shape, dtype, InputSpec(name, **spec), largest)], rng=np.random.default_rng(0))[0]


def test_a_list_is_a_shape_and_a_mapping_is_a_specification():
    specs = input_specs({"a": ["batch", 64], "b": {"shape": [2, "batch"], "dtype": "int64", "high": 9}})
    assert specs["a"] == InputSpec("a", ("batch", 64))
    assert specs["b"] == InputSpec("b", (2, "batch"), "int64", None, 9)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": {"shpae": [1]}}, "model.inputs.x has no key 'shpae'"),
        ({"x": {"shape": [1], "dtype": "float31"}}, "dtype must be one of float32"),
        ({"x": {"shape": [1], "low": 3, "high": 2}}, r"low \(3\) is above high \(2\)"),
        ({"x": {"shape": [-1]}}, "must list sizes, 'batch' or names of model.axes"),
        ({"x": 5}, "must be a shape or hold"),
        ({"x": {"shape": [1], "low": "a"}}, "model.inputs.x.low must be a number"),
    ],
)
def test_a_mistake_names_the_input_and_the_key(inputs, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(name="m", source="target", target="a:b", inputs=inputs)


def test_named_axes_and_the_batch_get_their_sizes():
    model = ModelConfig(name="m", source="target", target="a:b", inputs={"x": ["batch", "time", 3]}, axes={"time": 7})
    assert inputs_of(model, batch_size=2)[0].shape == (2, 7, 3)
    nameless = ModelConfig(name="m", source="target", target="a:b", inputs={"x": ["batch", "time"]})
    with pytest.raises(ConfigError, match=r"set model\.axes\.time=SIZE"):
        inputs_of(nameless, batch_size=2)


@pytest.mark.parametrize(
    ("array", "low", "high"),
    [
        (one(dtype="int64", low=5, high=7), 5, 7),
        (one(dtype="int64", largest=9), 0, 9),
        (one(dtype="int32"), 0, 1),
        (one(dtype="uint8", shape=(4, 99)), 0, 255),
        (one(dtype="float32", low=-3, high=-2), -3, -2),
        (one(name="attention_mask", dtype="int64"), 1, 1),
    ],
)
def test_values_are_drawn_within_their_range(array, low, high):
    assert low <= array.min()
    assert array.max() <= high
    if high > low:
        assert len(np.unique(array)) > 1


def test_booleans_hold_both_values_and_scalars_have_no_axis():
    assert set(one(dtype="bool").ravel()) == {False, True}
    assert one(shape=()).shape == ()
    assert one(shape=(), dtype="int64", low=16000, high=16000) == 16000


def test_a_file_with_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 5)))
    with pytest.raises(ConfigError, match=r"model\.inputs\.x\.file holds \[1, 5\], the input takes \[4, 16\]"):
        one(file=str(tmp_path / "x.npy"))


@pytest.mark.parametrize(
    ("shape", "side"), [((1, 3, 224, 224), 224), ((1, 8, 8, 3), 8), ((1, 16), None), ((2, 1, 64, 100), 100)]
)
def test_only_pictures_have_a_side(shape, side):
    assert picture_side(shape) == side
