"""Facts about devices (chip, maker, generation, year, tier, form factor), and which devices share a chip.

The facts are in `catalogue.yaml`. This module imports no runtime and no measurement code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One device under its canonical name.

    `maker` and `year` are those of the device, `chip_maker` and `chip_year` those of its chip.
    """

    name: str
    maker: str
    tier: str
    form_factor: str
    chip: str
    chip_maker: str
    generation: str
    year: int
    chip_year: int
    in_paper: bool
    aliases: tuple[str, ...]


def plain(name: str) -> str:
    """Return `name` without case and punctuation; `+` is kept, since it distinguishes a Galaxy S23+ from an S23.

    >>> plain("Samsung Galaxy S23+"), plain("RTX-4090")
    ('samsunggalaxys23+', 'rtx4090')
    """
    return re.sub(r"[^a-z0-9+]", "", name.lower().replace("®", "").replace("™", ""))


def _devices(chip: Mapping[str, Any]) -> Iterator[DeviceFacts]:
    for device in chip["devices"]:
        yield DeviceFacts(
            name=device["name"],
            maker=device.get("maker", chip["maker"]),
            tier=chip["tier"],
            form_factor=device.get("form_factor", chip["form_factor"]),
            chip=chip["chip"],
            chip_maker=chip["maker"],
            generation=chip["generation"],
            year=device["year"],
            chip_year=chip["year"],
            in_paper=device.get("paper", False),
            aliases=(*device.get("aliases", ()), *((chip["chip"],) if chip["tier"] == "gpu" else ())),
        )


@cache
def _chips() -> tuple[Mapping[str, Any], ...]:
    text = files("frm_mlflow.devices").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text)["chips"])


@cache
def catalogue() -> Mapping[str, DeviceFacts]:
    """Return the facts by canonical device name, in the file's order."""
    return MappingProxyType({facts.name: facts for chip in _chips() for facts in _devices(chip)})


@cache
def _by_plain_name() -> Mapping[str, DeviceFacts]:
    return {plain(name): facts for facts in catalogue().values() for name in (facts.name, *facts.aliases)}


@cache
def _chip_names() -> Mapping[str, str]:
    return {plain(name): chip["chip"] for chip in _chips() for name in (chip["chip"], *chip.get("aliases", ()))}


def find(name: str) -> DeviceFacts | None:
    """Return the device with the name `name`, or None.

    >>> find("NVIDIA H100-SXM").name, find("rtx 4090").chip, find("Pixel of mine")
    ('h100', 'NVIDIA GeForce RTX 4090', None)
    """
    devices = _by_plain_name()
    return devices.get(plain(name)) or devices.get(plain(name).removeprefix("nvidia"))


def find_phone(model: str, chip: str) -> DeviceFacts | None:
    """Return the phone of this model with this chip, or None; one model may be sold with chips of several makers.

    Samsung's model codes end with the region (`SM-S911B`), which the catalogue omits.

    >>> find_phone("SM-S911B", "SM8550").name, find_phone("Pixel 8", "Tensor G3").name
    ('Samsung Galaxy S23', 'Google Pixel 8')
    >>> find_phone("SM-S911B", "s5e9925")
    """
    code = re.match(r"SM-[A-Z]\d{3}", model)
    names = (code[0] if code else model, f"Google {model}", f"Xiaomi {model}")
    facts = next((match for name in names if (match := find(name)) is not None), None)
    generations = _generations()
    if facts is None or generations.get(chip_name(chip)) != facts.generation:
        return None
    return facts


@cache
def _generations() -> Mapping[str, str]:
    return {chip["chip"]: chip["generation"] for chip in _chips()}


def chip_name(name: str) -> str:
    """Return a chip's canonical name, or `name` itself if the chip is not in the catalogue.

    >>> chip_name("qualcomm-snapdragon-8gen2"), chip_name("SM8550"), chip_name("my-chip")
    ('Snapdragon 8 Gen 2', 'Snapdragon 8 Gen 2', 'my-chip')
    """
    return _chip_names().get(plain(name), name)


def siblings(name: str) -> tuple[str, ...]:
    """Return the other devices with the same chip as the device `name`, in the catalogue's order.

    >>> siblings("Samsung Galaxy S25+")
    ('Samsung Galaxy S25', 'Samsung Galaxy S25 Ultra')
    """
    facts = find(name)
    if facts is None:
        return ()
    return tuple(f.name for f in catalogue().values() if f.chip == facts.chip and f.name != facts.name)
