"""The catalogue against the paper and the conf files, and that a network never gets another's facts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from frm_mlflow.config import ModelConfig
from frm_mlflow.zoo.catalogue import CATALOGUE, PAPER_MODELS, architecture_of, facts_for, family_of, lookup

CONF = Path(__file__).parents[3] / "conf" / "model"

# Paper, Table 9: parameters in millions, FLOPs in billions, family.
TABLE_9 = {
    "convnext_tiny": (28.59, 4.46, "hybrid"),
    "deit_tiny": (5.90, 2.60, "transformer"),
    "densenet121": (7.98, 2.83, "cnn"),
    "efficientnet_b0": (5.29, 0.39, "efficient"),
    "inception_v3": (27.16, 5.71, "cnn"),
    "levit_128s": (7.80, 0.31, "transformer"),
    "mnasnet1_0": (4.38, 0.31, "mobile_cnn"),
    "mobilenet_v2": (3.51, 0.31, "mobile_cnn"),
    "mobilenet_v3_small": (2.54, 0.06, "mobile_cnn"),
    "mobilevit_xxs": (1.30, 0.70, "hybrid"),
    "resnet18": (11.69, 1.81, "cnn"),
    "resnet50": (25.56, 4.09, "cnn"),
    "squeezenet1_1": (1.24, 0.35, "efficient"),
}
PAPER_ERRORS = {
    "deit_tiny": "about twice the multiply-accumulates, and the distilled variant's parameters",
    "mobilevit_xxs": "neither the multiply-accumulates at 256 px nor twice those",
    "inception_v3": "parameters with the auxiliary head",
}


def test_paper_models_are_the_thirteen_of_table_9():
    assert set(PAPER_MODELS) == set(TABLE_9)


@pytest.mark.parametrize("name", TABLE_9)
def test_facts_agree_with_table_9_where_it_is_right(name):
    params, gmacs, family = TABLE_9[name]
    facts = CATALOGUE[name]
    assert facts.family == family
    if name not in PAPER_ERRORS:
        assert facts.params_m == pytest.approx(params, rel=0.02, abs=0.005)
        assert facts.gmacs == pytest.approx(gmacs, rel=0.02, abs=0.0101)


@pytest.mark.parametrize("facts", CATALOGUE.values(), ids=lambda facts: facts.name)
def test_facts_are_complete_and_plausible(facts):
    assert facts.family in ("cnn", "mobile_cnn", "efficient", "transformer", "hybrid", "other")
    assert 50 < facts.top1 < facts.top5 < 100
    assert facts.source in facts.accuracy_source


@pytest.mark.parametrize("facts", CATALOGUE.values(), ids=lambda facts: facts.name)
def test_every_network_has_a_conf_file_without_facts(facts):
    assert yaml.safe_load((CONF / f"{facts.name}.yaml").read_text()) == {"name": facts.name, "source": facts.source}


def test_a_catalogue_name_is_resolved_to_the_library_s_own():
    assert architecture_of(ModelConfig(name="deit_tiny", source="timm")) == "deit_tiny_patch16_224"
    assert facts_for(ModelConfig(name="deit_tiny", source="timm")) is lookup("deit_tiny")


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(name="resnet50", source="timm"),
        ModelConfig(name="resnet50", source="target", target="a:b"),
        ModelConfig(name="resnet50", source="torchvision", architecture="resnet34"),
        ModelConfig(name="efficientvit_b0", source="timm"),
        ModelConfig(name="levit_128s", source="torchvision"),
    ],
    ids=lambda config: f"{config.source}-{config.name}-{config.architecture}",
)
def test_another_network_of_the_same_name_gets_no_facts(config):
    assert facts_for(config) is None
    assert family_of(config) == "other"


@pytest.mark.parametrize("change", [{"input_size": 160}, {"kwargs": {"num_classes": 10}}, {"input_shape": [3, 96, 96]}])
def test_a_changed_network_keeps_only_its_family(change):
    facts = facts_for(ModelConfig(name="resnet50", **change))
    assert facts is not None
    assert facts.family == "cnn"
    assert (facts.top1, facts.top5, facts.gmacs, facts.accuracy_source) == (None, None, None, "")


def test_native_size_given_in_words_changes_nothing():
    assert facts_for(ModelConfig(name="inception_v3", input_size=299)) is CATALOGUE["inception_v3"]


def test_a_set_family_wins():
    assert family_of(ModelConfig(name="resnet50", family="hybrid")) == "hybrid"


def test_the_catalogue_and_the_export_door_need_no_torch():
    code = (
        "import sys, frm_mlflow.zoo.catalogue, frm_mlflow.export as e; e.check('torch', 'fp32'); "
        "sys.exit(bool({'torch', 'timm', 'onnxruntime', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
