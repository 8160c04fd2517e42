"""Networks with published facts: name, family, input size, accuracy, multiply-accumulates.

Facts come from torchvision's weight metadata (a test compares every value with it) and from
timm's published results tables. Families are those of the paper's Table 9; its section 4.1
lists SqueezeNet under mobile CNNs and Inception under efficient networks instead.

This module imports neither torch nor the libraries that build the networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from frm_mlflow.config import ModelConfig

_TORCHVISION = "torchvision {} (ImageNet-1K validation)"
_TIMM = "timm results/results-imagenet.csv, {} (ImageNet-1K validation)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Published facts about one network.

    `gmacs` is the number of multiply-accumulates of one sample at `input_size`, in billions. `params_m` is the
    number of parameters used at inference, in millions. An unknown value is None, never zero.
    """

    name: str
    source: str
    architecture: str
    family: str
    input_size: int
    top1: float | None
    top5: float | None
    accuracy_source: str
    gmacs: float | None
    params_m: float
    in_paper: bool = True


def _torchvision(
    name: str,
    family: str,
    weights: str,
    accuracy: tuple[float, float],
    cost: tuple[float, float],
    *,
    input_size: int = 224,
    in_paper: bool = True,
) -> ModelFacts:
    return ModelFacts(
        name=name,
        source="torchvision",
        architecture=name,
        family=family,
        input_size=input_size,
        top1=accuracy[0],
        top5=accuracy[1],
        accuracy_source=_TORCHVISION.format(weights),
        gmacs=cost[0],
        params_m=cost[1],
        in_paper=in_paper,
    )


def _timm(name: str, family: str, weights: str, *figures: tuple[float, float], **other: Any) -> ModelFacts:
    architecture = weights.partition(".")[0]
    facts = _torchvision(name, family, weights, *figures, **other)
    return replace(facts, source="timm", architecture=architecture, accuracy_source=_TIMM.format(weights))


_FACTS = (
    # name, family, weights, (top-1 %, top-5 %), (GMACs, parameters in millions)
    _torchvision("resnet18", "cnn", "ResNet18_Weights.IMAGENET1K_V1", (69.758, 89.078), (1.814, 11.689512)),
    _torchvision("resnet50", "cnn", "ResNet50_Weights.IMAGENET1K_V2", (80.858, 95.434), (4.089, 25.557032)),
    _torchvision("densenet121", "cnn", "DenseNet121_Weights.IMAGENET1K_V1", (74.434, 91.972), (2.834, 7.978856)),
    _torchvision(
        "mobilenet_v2", "mobile_cnn", "MobileNet_V2_Weights.IMAGENET1K_V2", (72.154, 90.822), (0.301, 3.504872)
    ),
    _torchvision(
        "mobilenet_v3_small",
        "mobile_cnn",
        "MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        (67.668, 87.402),
        (0.057, 2.542856),
    ),
    _torchvision(
        "mobilenet_v3_large",
        "mobile_cnn",
        "MobileNet_V3_Large_Weights.IMAGENET1K_V2",
        (75.274, 92.566),
        (0.217, 5.483032),
        in_paper=False,
    ),
    _torchvision("mnasnet1_0", "mobile_cnn", "MNASNet1_0_Weights.IMAGENET1K_V1", (73.456, 91.510), (0.314, 4.383312)),
    _torchvision(
        "squeezenet1_1", "efficient", "SqueezeNet1_1_Weights.IMAGENET1K_V1", (58.178, 80.624), (0.349, 1.235496)
    ),
    _torchvision(
        "efficientnet_b0", "efficient", "EfficientNet_B0_Weights.IMAGENET1K_V1", (77.692, 93.532), (0.386, 5.288548)
    ),
    # torchvision's 27.16 M parameters (and the paper's) include the auxiliary head, which only training uses.
    _torchvision(
        "inception_v3",
        "cnn",
        "Inception_V3_Weights.IMAGENET1K_V1",
        (77.294, 93.450),
        (5.713, 23.834568),
        input_size=299,
    ),
    _torchvision(
        "convnext_tiny", "hybrid", "ConvNeXt_Tiny_Weights.IMAGENET1K_V1", (82.520, 96.146), (4.456, 28.589128)
    ),
    # timm's GMACs and parameters: results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv
    _timm("levit_128s", "transformer", "levit_128s.fb_dist_in1k", (76.526, 92.872), (0.31, 7.78)),
    _timm("deit_tiny", "transformer", "deit_tiny_patch16_224.fb_in1k", (72.172, 91.112), (1.26, 5.72)),
    _timm(
        "deit_tiny_distilled",
        "transformer",
        "deit_tiny_distilled_patch16_224.fb_in1k",
        (74.500, 91.892),
        (1.27, 5.91),
        in_paper=False,
    ),
    _timm("mobilevit_xxs", "hybrid", "mobilevit_xxs.cvnets_in1k", (68.932, 88.942), (0.42, 1.27), input_size=256),
)

CATALOGUE: Mapping[str, ModelFacts] = MappingProxyType({facts.name: facts for facts in _FACTS})
"""Published facts by canonical name."""

PAPER_MODELS: tuple[str, ...] = tuple(facts.name for facts in _FACTS if facts.in_paper)
"""The 13 networks of the paper's section 4.1."""


def lookup(name: str) -> ModelFacts | None:
    """Return the facts published under a canonical name, or None."""
    return CATALOGUE.get(name)


def architecture_of(config: ModelConfig) -> str:
    """Return the library's name of the network: as configured, else from the catalogue, else the name itself."""
    if config.architecture:
        return config.architecture
    facts = lookup(config.name)
    return facts.architecture if facts is not None and facts.source == config.source else config.name


def facts_for(config: ModelConfig) -> ModelFacts | None:
    """Return facts about exactly the network in `config`; None rather than facts about a different network.

    A modified network (additional arguments, another input size) keeps its family, but the accuracy
    and multiply-accumulates published for the original are left out.
    """
    facts = lookup(config.name)
    if facts is None or (facts.source, facts.architecture) != (config.source, architecture_of(config)):
        return None
    input_size = config.input_size or facts.input_size
    if not config.kwargs and config.input_shape is None and input_size == facts.input_size:
        return facts
    return replace(facts, input_size=input_size, top1=None, top5=None, accuracy_source="", gmacs=None)


def family_of(config: ModelConfig) -> str:
    """Return the network's family: as configured, else the catalogue's, else `other`."""
    facts = facts_for(config)
    return config.family or (facts.family if facts is not None else "other")
