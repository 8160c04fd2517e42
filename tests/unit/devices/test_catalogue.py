import re
from pathlib import Path

import pytest
import yaml

from frm_mlflow import schema
from frm_mlflow.devices import catalogue

CONF = Path(__file__).parents[3] / "conf" / "device"
PAPER_GPUS = ("A100-SXM", "H100-SXM", "H200-SXM", "L40S", "RTX 3090", "RTX 4090", "RTX 5090", "RTX 6000 Ada")
PAPER_CPUS = ("Standard_D16s_v3", "Standard_D16s_v5", "Standard_E16s_v3", "Standard_E16s_v5")
PAPER_PIXELS = (
    *("2", "3", "4", "5", "6", "6 Pro", "6a", "7", "7 Pro", "7a", "8", "8 Pro", "8a"),
    *("9", "9 Pro", "9 Pro XL", "Fold", "Tablet"),
)
PAPER_PHONES = (
    *(f"Google Pixel {name}" for name in PAPER_PIXELS),
    *(f"Samsung Galaxy S{number}" for number in (21, 22, 23, 24)),
    *("OnePlus 10T 5G", "OnePlus 11 5G", "OnePlus Nord2", "Xiaomi 12", "Xiaomi 13", "Motorola Edge 30"),
    "Motorola Razr Plus 2024",
)


@pytest.mark.parametrize(
    ("names", "tier"), [(PAPER_GPUS, "gpu"), (PAPER_CPUS, "cpu"), (PAPER_PHONES, "edge")], ids=["gpu", "cpu", "edge"]
)
def test_every_device_that_the_paper_names_is_known_with_its_tier(names: tuple[str, ...], tier: str) -> None:
    for name in names:
        facts = catalogue.find(name)
        assert facts is not None, name
        assert (facts.tier, facts.in_paper) == (tier, True), name


def test_every_fact_is_there_and_plausible() -> None:
    for facts in catalogue.catalogue().values():
        assert facts.tier in schema.TIERS
        assert 2015 <= facts.chip_year <= facts.year + 1 <= 2028, facts.name
        assert all((facts.maker, facts.chip, facts.chip_maker, facts.generation, facts.form_factor)), facts.name
        assert re.fullmatch(r"[a-z0-9.-]+", facts.generation), facts.name


def test_no_name_means_two_devices() -> None:
    seen: dict[str, str] = {}
    for facts in catalogue.catalogue().values():
        for name in {facts.name, *facts.aliases}:
            assert seen.setdefault(catalogue.plain(name), facts.name) == facts.name, name


def test_configured_devices_have_the_names_of_the_catalogue() -> None:
    configured = {yaml.safe_load(file.read_text())["name"] for file in CONF.glob("*.yaml")}

    assert configured - set(catalogue.catalogue()) <= {"auto", "cpu", "cuda", "emulated_aarch64", "phone"}


def test_plus_tells_two_phones_apart() -> None:
    plus, plain = catalogue.find("Samsung Galaxy S24+"), catalogue.find("Samsung Galaxy S24")

    assert plus is not None
    assert plain is not None
    assert plus.name != plain.name
    assert plus.chip == plain.chip


def test_phones_with_one_chip_are_siblings_and_others_are_not() -> None:
    assert "Samsung Galaxy S23 Ultra" in catalogue.siblings("Samsung Galaxy S23")
    assert "OnePlus 11 5G" in catalogue.siblings("Samsung Galaxy S23")
    assert "Samsung Galaxy S24" not in catalogue.siblings("Samsung Galaxy S23")
    assert catalogue.siblings("an unknown phone") == ()


def test_a_gpu_is_found_by_the_name_that_its_driver_gives() -> None:
    facts = catalogue.find("NVIDIA A100-SXM4-80GB")

    assert facts is not None
    assert facts.name == "a100"
