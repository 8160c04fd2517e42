"""Counted cost against published figures of the libraries, and against hand calculations."""

from __future__ import annotations

import pytest
import torch
import torchvision

from frm_mlflow.config import ModelConfig
from frm_mlflow.zoo.catalogue import CATALOGUE
from frm_mlflow.zoo.flops import count, count_module
from frm_mlflow.zoo.operators import is_free
from frm_mlflow.zoo.recipe import Recipe, recipe_for

EXCEPTIONS = {"mobilevit_xxs": "timm's counter includes normalisation: see the test of timm's figures"}

# timm results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv, column infer_macts (elements, millions).
TIMM_ACTIVATIONS_M = {
    "levit_128s": 1.88,
    "deit_tiny": 5.97,
    "deit_tiny_distilled": 6.01,
    "mobilevit_xxs": 8.34,
    "resnet18": 2.48,
    "mobilenet_v2": 6.68,
    "mobilenet_v3_small": 1.42,
    "mobilenet_v3_large": 4.41,
    "efficientnet_b0": 6.75,
    "mnasnet1_0": 5.46,
}
TORCHVISION = [facts for facts in CATALOGUE.values() if facts.source == "torchvision"]


def counted(name: str, **settings):
    facts = CATALOGUE.get(name)
    return count(recipe_for(ModelConfig(name=name, source=facts.source if facts else "torchvision", **settings)))


@pytest.mark.parametrize("facts", TORCHVISION, ids=lambda facts: facts.name)
def test_facts_are_torchvision_s_own_metadata(facts):
    weights = torchvision.models.get_model_weights(facts.name).DEFAULT
    meta = weights.meta
    assert meta["_metrics"]["ImageNet-1K"] == {"acc@1": facts.top1, "acc@5": facts.top5}
    assert meta["_ops"] == facts.gmacs
    assert weights.transforms.keywords["crop_size"] == facts.input_size
    assert f"{type(weights).__name__}.{weights.name}" in facts.accuracy_source
    if facts.name != "inception_v3":  # the metadata includes the auxiliary head, which only training uses
        assert meta["num_params"] == round(facts.params_m * 1e6)


@pytest.mark.parametrize("facts", CATALOGUE.values(), ids=lambda facts: facts.name)
def test_counts_agree_with_what_is_published_to_two_per_cent(facts):
    cost = counted(facts.name)
    assert cost.params_m == pytest.approx(facts.params_m, rel=0.02)
    assert cost.gmacs == pytest.approx(facts.gmacs, rel=0.05 if facts.name in EXCEPTIONS else 0.02)
    assert cost.uncounted_ops == ()


def normalisation_gmacs(recipe: Recipe) -> float:
    """Return what fvcore, timm's counter, adds for normalisation: 2 per element for batch norms, 5 for layer norms."""
    elements = {"BatchNorm": 0, "LayerNorm": 0}
    with torch.device("meta"):
        module = recipe.make()
    for layer in module.modules():
        for kind in elements:
            if type(layer).__name__.startswith(kind):
                layer.register_forward_pre_hook(
                    lambda _, inputs, kind=kind: elements.update({kind: elements[kind] + inputs[0].numel()})
                )
    with torch.no_grad():
        module(torch.zeros(1, *recipe.shape, device="meta"))
    return (2 * elements["BatchNorm"] + 5 * elements["LayerNorm"]) / 1e9


@pytest.mark.parametrize("facts", [f for f in CATALOGUE.values() if f.source == "timm"], ids=lambda facts: facts.name)
def test_timm_s_figures_are_ours_and_its_normalisation(facts):
    recipe = recipe_for(ModelConfig(name=facts.name, source="timm"))
    assert count(recipe).gmacs + normalisation_gmacs(recipe) == pytest.approx(facts.gmacs, abs=0.005)


def test_resnet50_has_4_09_gmacs_and_25_56_m_parameters():
    cost = counted("resnet50")
    assert round(cost.gmacs, 2) == 4.09
    assert round(cost.params_m, 2) == 25.56


@pytest.mark.parametrize("name", TIMM_ACTIVATIONS_M)
def test_activations_agree_with_timm_s(name):
    assert counted(name).activations_m == pytest.approx(TIMM_ACTIVATIONS_M[name], abs=0.0051)


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "regnet_y_400mf", "shufflenet_v2_x1_0", "maxvit_t"])
def test_attention_and_groups_are_counted(name):
    published = torchvision.models.get_model_weights(name).DEFAULT.meta["_ops"]
    assert counted(name).gmacs == pytest.approx(published, rel=0.02)


def test_a_small_network_by_hand():
    width, side, classes = 16, 32, 10
    cost = count(Recipe("user_networks:residual", {}, (3, side, side)))
    pixels = (side // 2) ** 2
    stem = pixels * width * 3 * 9
    branch = pixels * width * 4 * width * 2
    qkv = pixels * width * 3 * width
    attention = 2 * pixels * pixels * width
    assert cost.gmacs * 1e9 == pytest.approx(stem + branch + qkv + attention + width * classes)
    written = pixels * (width + 4 * width + width + 3 * width + pixels + width) + classes
    assert cost.activations_m * 1e6 == pytest.approx(written)
    assert cost.compute_ops == 7


def test_a_network_that_reads_values_is_counted_on_the_cpu():
    shape = (3, 32, 32)
    reads = count(Recipe("user_networks:reads_values", {}, shape))
    assert reads.gmacs == count(Recipe("user_networks:residual", {}, shape)).gmacs


def test_an_operator_that_nobody_counts_is_named():
    cost = count(Recipe("user_networks:fourier", {}, (3, 32, 32)))
    assert cost.gmacs * 1e9 == 32 * 4
    assert any("fft" in name for name in cost.uncounted_ops)


class Recurrent(torch.nn.Module):
    """A recurrent layer over a sequence, with a head on its last step."""

    def __init__(self, kind: str, **settings) -> None:
        super().__init__()
        self.layer = getattr(torch.nn, kind)(20, 24, batch_first=True, **settings)
        self.head = torch.nn.Linear(24 * (2 if settings.get("bidirectional") else 1), 2)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("is_exported", [False, True])
def test_recurrent_layers_are_counted_by_the_analytic_formula(kind, is_exported):
    x = torch.randn(1, 12, 20)
    one, two = Recurrent(kind).eval(), Recurrent(kind, num_layers=2, bidirectional=True).eval()
    if is_exported:
        one, two = (torch.export.export(module, (x,)).module() for module in (one, two))
    single, double = (count_module(module, (x,), batch_size=1) for module in (one, two))
    gates = GATES[kind]
    assert single.gmacs * 1e9 == pytest.approx(12 * gates * 24 * (20 + 24) + 24 * 2)
    assert double.gmacs * 1e9 == pytest.approx(12 * 2 * gates * 24 * (20 + 24 + 48 + 24) + 48 * 2)
    assert (single.uncounted_ops, double.uncounted_ops) == ((), ())
    assert single.products == 3


class Products(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear = torch.nn.Bilinear(3, 4, 5)
        self.transposed = torch.nn.ConvTranspose1d(1, 2, 3, stride=2)

    def forward(self, x, y):
        near = torch.cdist(x, x)
        mixed = torch.einsum("bi,ij->bj", x, torch.ones(3, 5))
        return self.bilinear(x, y) + mixed + near.sum(), self.transposed(x[:, None]), x @ torch.ones(3)


def test_rarer_products_are_counted_by_hand():
    cost = count_module(Products().eval(), (torch.randn(2, 3), torch.randn(2, 4)), batch_size=1)
    assert cost.uncounted_ops == ()
    assert cost.gmacs * 1e9 == pytest.approx(2 * 5 * 3 * 4 + 2 * 2 * 3 + 2 * 3 * 5 + 2 * 3 * 2 * 3 + 2 * 3)


def test_a_dynamically_quantised_network_is_counted():
    layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
    quantised = torch.ao.quantization.quantize_dynamic(layers, {torch.nn.Linear}, torch.qint8)
    cost = count_module(quantised, (torch.randn(1, 8),), batch_size=1)
    assert cost.gmacs * 1e9 == pytest.approx(8 * 16 + 16 * 4)
    assert cost.quantised_ops == 2


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "ssd300_vgg16"])
def test_detectors_are_counted_on_the_picture_that_they_get(name):
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    published = torchvision.models.get_model_weights(name).DEFAULT.meta["_ops"]
    side = 320 if "320" in name else 300
    wrapped = Listed(model)
    cost = count_module(wrapped, (torch.rand(3, side, side),), batch_size=1)
    assert cost.uncounted_ops == ()
    assert cost.gmacs == pytest.approx(published, rel=0.02)


class Listed(torch.nn.Module):
    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner([x])


def test_no_operator_that_multiplies_matrices_is_free():
    products = ("mm", "addmm", "bmm", "baddbmm", "mv", "dot", "convolution", "_trilinear", "_cdist_forward", "_fft_c2c")
    for name in products:
        packet = getattr(torch.ops.aten, name)
        assert not is_free(getattr(packet, packet.overloads()[0])), name


def test_equal_and_unused_weights_need_not_survive_a_converter():
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.unused = (torch.nn.Linear(8, 8, bias=False) for _ in range(3))
            self.second.weight.data.copy_(self.first.weight.data)

        def forward(self, x):
            return self.second(self.first(x))

    cost = count_module(Twice().eval(), (torch.randn(1, 8),), batch_size=1)
    assert cost.params_m * 1e6 == pytest.approx(3 * 64)
    assert cost.weights == 64
