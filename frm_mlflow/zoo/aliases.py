"""One canonical name per architecture, whatever a source calls it, and the facts published about it.

Names are in `aliases.yaml`, facts about networks outside the catalogue in `published.yaml`. A name
that is not known is kept as it is: wrongly guessing that two names mean the same network would mix their runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from frm_mlflow.near import near_names
from frm_mlflow.zoo.catalogue import CATALOGUE

COUNTED = "counted: torch FlopCounterMode on meta tensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFacts:
    """Facts about one network at `input_size`; None means unknown, never zero."""

    family: str
    input_size: int
    gmacs: float | None
    params_m: float | None
    flops_source: str
    top1: float | None
    top5: float | None
    accuracy_source: str


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """A network's canonical name and family; `known` is False if the name was kept unchanged."""

    name: str
    family: str
    known: bool


def plain(name: str) -> str:
    """Return `name` in lower case without punctuation.

    >>> plain("MobileNet-v2"), plain("MNASNet0.5"), plain("mnasnet1_0")
    ('mobilenetv2', 'mnasnet05', 'mnasnet10')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _document(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load(files("frm_mlflow.zoo").joinpath(name).read_text(encoding="utf-8"))
    return dict(loaded)


@cache
def _canonical_by_plain_name() -> Mapping[str, str]:
    aliases: Mapping[str, list[str]] = _document("aliases.yaml")["aliases"]
    listed = {plain(alias): name for name, others in aliases.items() for alias in (name, *others)}
    return {plain(name): name for name in (*CATALOGUE, *_document("published.yaml")["models"])} | listed


@cache
def published() -> Mapping[str, PublishedFacts]:
    """Return published facts by canonical name: the catalogue's networks first, then the others."""
    facts = {
        name: PublishedFacts(
            family=known.family,
            input_size=known.input_size,
            gmacs=known.gmacs,
            params_m=known.params_m,
            flops_source="catalogue",
            top1=known.top1,
            top5=known.top5,
            accuracy_source=known.accuracy_source,
        )
        for name, known in CATALOGUE.items()
    }
    others = {name: _from_file(entry) for name, entry in _document("published.yaml")["models"].items()}
    return MappingProxyType(others | facts)


def _from_file(entry: Mapping[str, Any]) -> PublishedFacts:
    return PublishedFacts(
        family=entry["family"],
        input_size=entry["input_size"],
        gmacs=entry.get("gmacs"),
        params_m=entry.get("params_m"),
        flops_source=COUNTED if entry["library"] == "timm" else "catalogue",
        top1=entry.get("top1"),
        top5=entry.get("top5"),
        accuracy_source=entry.get("accuracy", ""),
    )


def identify(name: str, *, source: str = "", own: Mapping[str, str] = MappingProxyType({})) -> ModelIdentity:
    """Return the network that `name` refers to.

    Parameters
    ----------
    name
        Name as written by the source; timm's `architecture.weights` is reduced to the architecture.
    source
        Name of the importer, for names that have a different meaning there.
    own
        Maps the user's names to canonical ones; takes precedence.

    >>> identify("mobilenetv2_100.ra_in1k").name, identify("LeViT", source="aihub").name
    ('mobilenet_v2', 'levit_128s')
    >>> identify("MobileViT-XXS").name, identify("mobile_vit", source="aihub").name
    ('mobilevit_xxs', 'mobilevit_s')
    >>> identify("my_net")
    ModelIdentity(name='my_net', family='other', known=False)
    """
    special: Mapping[str, str] = _document("aliases.yaml")["in_source"].get(source, {})
    architecture = _without_weights(name)
    canonical = own.get(name) or special.get(name) or _canonical_by_plain_name().get(plain(architecture))
    final = canonical or name
    facts = published().get(final)
    return ModelIdentity(final, facts.family if facts else family_of_name(final), canonical is not None)


def near(name: str) -> list[str]:
    """Return the canonical names similar to `name`; names are never mapped by similarity.

    >>> near("mobilenet_v2_1.0")[0], near("resnet_v1_50")[0]
    ('mobilenet_v2', 'resnet50')
    """
    by_plain = _canonical_by_plain_name()
    without_version = re.sub(r"_v1(?=_)|_1\.0(?![\d.])|_224$", "", name[:100].lower())
    exact = [by_plain[key] for key in (plain(without_version), plain(name)) if key in by_plain]
    return list(dict.fromkeys([*exact, *near_names(name[:100], published())]))[:3]


def _without_weights(name: str) -> str:
    """Remove timm's `.weights` suffix, but keep a decimal point (`mnasnet0.5`)."""
    return re.sub(r"(?<=[a-z0-9])\.[a-z][a-z0-9_]*$", "", name, flags=re.IGNORECASE)


def family_of_name(name: str) -> str:
    """Return the family from the prefix of a network's name, or `other`.

    >>> family_of_name("regnety_320"), family_of_name("vit_large_patch14"), family_of_name("net")
    ('cnn', 'transformer', 'other')
    """
    start = plain(name)
    families: list[tuple[str, list[str]]] = _document("aliases.yaml")["families"]
    longest = max(
        ((len(p), family) for family, starts in families for p in starts if start.startswith(p)), default=None
    )
    return longest[1] if longest else "other"
