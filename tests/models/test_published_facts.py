"""Published facts of imported networks against the libraries that publish or build them."""

from importlib.resources import files

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

timm = pytest.importorskip("timm")
models = pytest.importorskip("torchvision.models")

ENTRIES = yaml.safe_load(files("frm_mlflow.zoo").joinpath("published.yaml").read_text())["models"]


def of(library: str) -> list[str]:
    return [name for name, entry in ENTRIES.items() if entry["library"] == library]


@pytest.mark.parametrize("name", of("torchvision"))
def test_torchvision_says_the_same(name: str) -> None:
    entry = ENTRIES[name]
    weights = models.get_model_weights(name).IMAGENET1K_V1
    accuracy = weights.meta["_metrics"]["ImageNet-1K"]

    assert entry["gmacs"] == weights.meta["_ops"]
    assert entry["params_m"] == pytest.approx(weights.meta["num_params"] / 1e6, abs=1e-6)
    assert (entry["top1"], entry["top5"]) == (accuracy["acc@1"], accuracy["acc@5"])
    assert entry["input_size"] == weights.transforms.keywords["crop_size"]
    assert entry["accuracy"] == f"torchvision {weights}"


@pytest.mark.parametrize("name", of("timm"))
def test_timms_networks_count_the_same(name: str) -> None:
    entry = ENTRIES[name]
    side = entry["input_size"]
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        network = timm.create_model(name, pretrained=False).eval()
        network(torch.empty(1, 3, side, side))

    assert entry["gmacs"] == pytest.approx(counter.get_total_flops() / 2e9, abs=6e-4)
    assert entry["params_m"] == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6, abs=6e-4)
