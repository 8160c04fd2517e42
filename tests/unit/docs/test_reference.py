"""The committed reference lists every command, option, metric and tag; the site builds without broken links."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from frm_mlflow import cli, schema

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "docs" / "reference"
REMEDY = "run `python docs/reference.py` and commit docs/reference/"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "reference.py"))


@pytest.fixture(scope="module")
def commands_page() -> str:
    return (REFERENCE / "commands.md").read_text()


def keys_of(node: object, prefix: str = "") -> set[str]:
    """Return the settings in a file of `conf/` that can be set on the command line."""
    if not isinstance(node, dict):
        return {prefix.rstrip(".")}
    own = {key: value for key, value in node.items() if key not in ("defaults", "hydra")}
    return {name for key, value in own.items() for name in keys_of(value, f"{prefix}{key}.")} or {prefix.rstrip(".")}


def test_every_command_has_its_help_in_the_reference(generator: dict[str, Any], commands_page: str) -> None:
    sections = dict(re.findall(r"^## frm-mlflow (\S+)\n+```text\n(.*?)```", commands_page, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(generator["commands"]()), REMEDY
    assert set(sections) == {*cli.WITH_SETTINGS, *cli.WITH_OPTIONS}, REMEDY
    assert all(len(text.splitlines()) > 2 for text in sections.values())


@pytest.mark.parametrize("name", sorted(cli.WITH_OPTIONS))
def test_the_help_of_a_command_without_configuration_is_the_current_one(
    generator: dict[str, Any], commands_page: str, name: str
) -> None:
    assert generator["_help"]([name]) in commands_page, REMEDY


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_file_and_option_is_in_the_reference(path: Path) -> None:
    page = (REFERENCE / "configuration.md").read_text()
    name = path.relative_to(ROOT / "conf").as_posix()
    shown = re.search(rf"^### {re.escape(name)}\n+```yaml\n(.*?)\n```", page, re.MULTILINE | re.DOTALL)
    assert shown, f"{name}: {REMEDY}"
    missing = keys_of(yaml.safe_load(path.read_text())) - keys_of(yaml.safe_load(shown[1]))
    assert not missing, f"{name}: {', '.join(sorted(missing))}: {REMEDY}"


def test_every_metric_and_tag_is_in_the_reference() -> None:
    page = (REFERENCE / "metrics-and-tags.md").read_text()
    missing = [
        item.key for item in (*schema.METRICS, *schema.TAGS) if f"| `{item.key}` | `{item.column}` |" not in page
    ]
    assert not missing, f"{', '.join(missing)}: {REMEDY}"


def test_the_site_builds_and_no_link_is_broken(tmp_path: Path) -> None:
    build = pytest.importorskip("mkdocs.commands.build", reason="the site needs the extra [docs]")
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build.build(config)
    page = (tmp_path / "site" / "index.html").read_text()
    # Reading the site does not fetch fonts, scripts or images from third parties.
    assert not re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', page)
