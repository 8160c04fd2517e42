"""Networks are built without downloads, reproducibly, and ready to be measured."""

from __future__ import annotations

import socket

import pytest
import timm
import torch
from user_networks import Residual

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import ConfigError, ModelError
from frm_mlflow.zoo.build import build
from frm_mlflow.zoo.catalogue import CATALOGUE
from frm_mlflow.zoo.fit import flatten

QUICK = ("squeezenet1_1", "mobilenet_v3_small", "levit_128s", "deit_tiny")
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CATALOGUE]


def catalogue(name: str, **settings) -> ModelConfig:
    return ModelConfig(name=name, source=CATALOGUE[name].source, **settings)


def user(factory: str, **settings) -> ModelConfig:
    return ModelConfig(name=factory, source="target", target=f"user_networks:{factory}", input_size=32, **settings)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Fail the test if anything opens a connection."""

    def refuse(*_args):
        raise AssertionError("a network was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", ALL)
def test_a_catalogue_network_is_fit_to_be_measured(name):
    built = build(catalogue(name))
    assert not built.module.training
    assert built.inputs[0].shape == (1, 3, CATALOGUE[name].input_size, CATALOGUE[name].input_size)
    for key, parameter in built.module.named_parameters():
        constant = parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all())
        assert not constant, f"{key} holds one value throughout: a compiler folds it away"
    with torch.inference_mode():
        first, second = (built.module(built.example(seed=seed)) for seed in (0, 1))
    assert first.shape == (1, 1000)
    assert 1e-3 < float(first.std()) < 10
    assert float((first - second).abs().max()) > 1e-3 * float(first.abs().max())


def test_weights_follow_the_seed_and_leave_the_callers_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    states = [build(catalogue("squeezenet1_1", seed=seed)).module.state_dict() for seed in (0, 0, 1)]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["features.0.weight"], states[2]["features.0.weight"])


def test_levit_s_twenty_zero_gammas_are_redrawn():
    def zero_gammas(module):
        norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm1d)]
        return sum(bool((norm.weight == 0).all()) for norm in norms)

    assert zero_gammas(timm.create_model("levit_128s")) == 20
    assert zero_gammas(build(catalogue("levit_128s")).module) == 0


def test_inception_has_no_auxiliary_head():
    recipe = build(catalogue("inception_v3")).recipe
    assert recipe.kwargs["aux_logits"] is False
    assert recipe.make().AuxLogits is None


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (ModelConfig(name="test_vit", source="timm"), 160),
        (ModelConfig(name="mine", source="timm", architecture="tinynet_e"), 106),
        (ModelConfig(name="shufflenet_v2_x0_5"), 224),
        (ModelConfig(name="deit_tiny", source="timm", input_size=160), 160),
        (ModelConfig(name="mobilenet_v3_small", input_size=96), 96),
    ],
    ids=lambda value: f"{value.source}-{value.name}" if isinstance(value, ModelConfig) else str(value),
)
def test_other_names_and_sizes_build(config, size):
    assert build(config).input_size == size


def test_a_network_without_normalisation_is_scaled_layer_by_layer():
    with pytest.raises(ModelError, match="outputs' standard deviation"):
        build(user("plain", weights="own"))
    module = build(user("plain", weights="random")).module
    with torch.inference_mode():
        assert 0.1 < float(module(torch.randn(1, 3, 32, 32)).std()) < 10


@pytest.mark.parametrize("factory", ["not_finite", "subnormal", "huge"])
def test_a_users_unfit_weights_are_refused_with_the_layer(factory):
    with pytest.raises(ModelError, match=r"(stem|head|outputs).*model\.weights=random"):
        build(user(factory))


def test_a_users_weights_are_left_as_they_are():
    torch.manual_seed(0)
    expected = Residual().state_dict()
    state = build(user("residual")).module.state_dict()
    assert all(torch.equal(expected[key], state[key]) for key in expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(name="resnet51"), r"Similar names: .*resnet50.*The catalogue: resnet18"),
        (ModelConfig(name="levit_128s"), r"in the catalogue 'levit_128s' has model.source=timm"),
        (ModelConfig(name="efficientvit_b00", source="timm"), "efficientvit_b0"),
        (ModelConfig(name="hf-hub:somebody/something", source="timm"), "timm has no image classifier"),
        (user("no_such_factory"), "has no callable 'no_such_factory'"),
        (ModelConfig(name="x", source="target", target="nowhere.to_be:found"), "cannot be imported"),
        (ModelConfig(name="x", source="target", target="nowhere"), "must be package.module:factory"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_cannot_be_found_lists_what_can(config, message):
    with pytest.raises(ConfigError, match=message):
        build(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (user("no_module"), "must return a torch.nn.Module, it returned object"),
        (user("raises"), "FileNotFoundError: no such checkpoint"),
        (user("residual", kwargs={"depth": 9}), "unexpected keyword argument 'depth'"),
        (user("residual", input_shape=[1, 32, 32]), r"cannot run on an input of 1x32x32.*model\.input_shape"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_cannot_be_built_says_why(config, message):
    with pytest.raises(ModelError, match=message):
        build(config)


def test_nested_outputs_are_flattened_in_order():
    a, b, c = (torch.tensor(float(i)) for i in range(3))
    assert flatten({"x": a, "y": [b, (c,)], "z": None}) == (a, b, c)
