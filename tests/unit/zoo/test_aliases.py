from importlib.resources import files

import pytest
import yaml

from frm_mlflow.zoo import aliases

FAMILIES = ("cnn", "mobile_cnn", "efficient", "transformer", "hybrid", "other")


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("mobilenetv2_100", "mobilenet_v2"),
        ("MobileNet-v2", "mobilenet_v2"),
        ("mobilenetv2_100.ra_in1k", "mobilenet_v2"),
        ("ResNet-50", "resnet50"),
        ("resnet50.a1_in1k", "resnet50"),
        ("MNASNet1.0", "mnasnet1_0"),
        ("mnasnet_100", "mnasnet1_0"),
        ("MNASNet0.5", "mnasnet0_5"),
        ("mnasnet_050", "mnasnet0_5"),
        ("MobileViT-XXS", "mobilevit_xxs"),
        ("MobileViT-S", "mobilevit_s"),
        ("SqueezeNet-1.1", "squeezenet1_1"),
        ("deit_tiny_patch16_224", "deit_tiny"),
        ("deit_tiny_distilled_patch16_224.fb_in1k", "deit_tiny_distilled"),
        ("LeViT-128S", "levit_128s"),
        ("vit_base_patch16_224", "vit_b_16"),
    ],
)
def test_one_name_per_architecture(name: str, canonical: str) -> None:
    found = aliases.identify(name)

    assert (found.name, found.known) == (canonical, True)


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_b0", "resnet50d", "mobilenet_v2_075", "mobilevit_xs", "levit_128", "my/net"]
)
def test_a_variant_keeps_its_own_name(name: str) -> None:
    assert (aliases.identify(name).name, aliases.identify(name).known) == (name, False)


def test_a_name_means_another_variant_in_another_source() -> None:
    assert aliases.identify("mobile_vit", source="aihub").name == "mobilevit_s"
    assert aliases.identify("regnet", source="aihub").name == "regnet_x_3_2gf"
    assert not aliases.identify("regnet").known


def test_your_own_mapping_wins() -> None:
    assert aliases.identify("MobileNet-v2", own={"MobileNet-v2": "mobilenet_v2_ours"}).name == "mobilenet_v2_ours"


def test_no_alias_means_two_networks() -> None:
    listed = yaml.safe_load(files("frm_mlflow.zoo").joinpath("aliases.yaml").read_text())["aliases"]
    seen: dict[str, str] = {}
    for name, others in listed.items():
        for alias in (name, *others):
            assert seen.setdefault(aliases.plain(alias), name) == name, alias


def test_every_canonical_name_has_facts() -> None:
    document = yaml.safe_load(files("frm_mlflow.zoo").joinpath("aliases.yaml").read_text())

    assert set(document["aliases"]) <= set(aliases.published())
    assert set(document["in_source"]["aihub"].values()) <= set(aliases.published())


def test_published_facts_are_plausible_and_name_their_source() -> None:
    for name, facts in aliases.published().items():
        assert facts.family in FAMILIES, name
        assert facts.gmacs is None or 0 < facts.gmacs < 100, name
        assert facts.top1 is None or (50 < facts.top1 < 100 and facts.accuracy_source), name
        assert facts.gmacs is None or facts.flops_source, name


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("tf_efficientnetv2_b0", "efficient"),
        ("regnety_320", "cnn"),
        ("eva02_large_patch14_448", "transformer"),
        ("maxvit_tiny_tf_512", "hybrid"),
        ("ghostnetv2_100", "mobile_cnn"),
        ("something", "other"),
    ],
)
def test_families_of_networks_that_nobody_lists(name: str, family: str) -> None:
    assert aliases.family_of_name(name) == family
