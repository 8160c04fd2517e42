"""The reference pages describe every command, setting, metric and tag, and the site builds without broken links."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

from frm_mlflow import cli, schema

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    built: dict[str, str] = runpy.run_path(str(ROOT / "docs" / "reference.py"))["pages"]()
    return built


def keys_of(node: object, prefix: str = "") -> set[str]:
    """Return the settings in a file of `conf/` that can be set on the command line."""
    if not isinstance(node, dict):
        return {prefix.rstrip(".")}
    settings = {key: value for key, value in node.items() if key not in ("defaults", "hydra")}
    return {name for key, value in settings.items() for name in keys_of(value, f"{prefix}{key}.")} or {
        prefix.rstrip(".")
    }


def test_every_command_has_its_help_in_the_reference(pages: dict[str, str]) -> None:
    sections = dict(
        re.findall(r"^## frm-mlflow (\S+)\n+```text\n(.*?)```", pages["commands.md"], re.MULTILINE | re.DOTALL)
    )
    assert set(sections) == {*cli.WITH_SETTINGS, *cli.WITH_OPTIONS}
    for name, text in sections.items():
        assert len(text.splitlines()) > 2, name
        assert f"frm-mlflow {name}" in text, name


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_setting_is_in_the_reference(pages: dict[str, str], path: Path) -> None:
    name = path.relative_to(ROOT / "conf").as_posix()
    shown = re.search(rf"^### {re.escape(name)}\n+```yaml\n(.*?)\n```", pages["configuration.md"], re.M | re.S)
    assert shown, name
    assert keys_of(yaml.safe_load(shown[1])) == keys_of(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("item", [*schema.METRICS, *schema.TAGS], ids=lambda item: str(item.key))
def test_every_metric_and_tag_is_described(pages: dict[str, str], item: schema.Metric | schema.Tag) -> None:
    (row,) = re.findall(rf"^\| `{re.escape(item.key)}` \| `{item.column}` \|.*", pages["metrics-and-tags.md"], re.M)
    assert len(row.split("|")[-2].split()) > 1


def test_the_site_builds_and_no_link_is_broken(tmp_path: Path) -> None:
    build = pytest.importorskip("mkdocs.commands.build", reason="the site needs the extra [docs]")
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build.build(config)
    page = (tmp_path / "site" / "index.html").read_text()
    # Reading the site does not fetch fonts, scripts or images from third parties.
    assert not re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', page)
    assert {path.name for path in (tmp_path / "site" / "reference").iterdir()} == {
        "commands.html",
        "configuration.html",
        "metrics-and-tags.html",
    }
