"""The importer contract, its example in the docs, and that every source can be configured."""

import doctest
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.devices import catalogue
from frm_mlflow.importers import Import, aihub, importers, logs, read, table, timm_tables
from frm_mlflow.importers.logs import GIVEN
from frm_mlflow.zoo import aliases

ROOT = Path(__file__).parents[3]


def test_the_example_in_the_docs_is_an_importer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/importing.md").read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "frm_geekbench.py").write_text(code.group(1))
    (tmp_path / "results.csv").write_text("model,device,milliseconds\nMobileNet-v2,Google Pixel 7,3.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("geekbench", "frm_geekbench:read", "frm_mlflow.importers")
    monkeypatch.setattr(sys.modules[Import.__module__], "entry_points", lambda group: [point])

    (record,) = read("geekbench", tmp_path / "results.csv", SourceConfig(name="geekbench")).records

    assert record.name == "mobilenet_v2 · Google Pixel 7 · litert · fp16"
    assert record.source == "imported:geekbench"
    assert record.metrics[schema.LATENCY_P50.key] == 3.5


def test_every_importer_has_its_settings() -> None:
    configured = {file.stem for file in (ROOT / "conf/source").glob("*.yaml")}

    assert configured == set(importers())


def test_every_fact_that_can_be_given_is_a_setting_and_in_the_docs() -> None:
    settings = set(re.findall(r"(?m)^(\w+): null$", (ROOT / "conf/given.yaml").read_text()))

    assert settings == set(GIVEN)
    assert all(f"`{name}`" in (ROOT / "docs/importing.md").read_text() for name in GIVEN)


@pytest.mark.parametrize(
    "module", [aihub, aliases, catalogue, logs, table, timm_tables], ids=lambda module: module.__name__
)
def test_examples_in_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
