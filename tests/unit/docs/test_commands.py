"""Every `frm-mlflow` command line in the README and the docs is accepted by the commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from frm_mlflow import cli
from frm_mlflow.overrides import overrides_of
from frm_mlflow.sweep.compose import composed

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HYDRAS_OWN = {"-m", "--multirun", "--help", "--json"}


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield each page's name and command line, from fenced blocks and from inline code."""
    for page in PAGES:
        if page.parent.name in ("reference", "adr"):
            continue
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        inline = re.findall(r"`(frm-mlflow [a-z-]+(?: [^`]*)?)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
        lines = [line.strip() for block in blocks for line in block.splitlines()] + inline
        for line in lines:
            found = re.match(r"(?:\$ )?(frm-mlflow [^#|>]*)", line)
            if found:
                yield page.relative_to(ROOT).as_posix(), found[1].strip()


LINES = sorted(set(command_lines()))


def test_there_are_commands_to_check() -> None:
    assert len(LINES) > 20


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda each: str(each)[:60])
def test_a_command_of_the_docs_is_accepted(page: str, line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    if name == "--help":
        return
    assert name in {*cli.WITH_SETTINGS, *cli.WITH_OPTIONS}, f"{page}: {line}"
    if name not in cli.WITH_SETTINGS or "--config-dir" in arguments or re.search(r"\.\.\.|…|=NAME\b", line):
        return
    if any(each.startswith("hydra/launcher=") for each in arguments):
        return  # launcher settings and site-specific devices are composed by Hydra itself
    overrides = [each for each in overrides_of(name, arguments) if each not in HYDRAS_OWN]
    if "-m" in arguments:
        overrides = [re.sub(r"=([^\[{,]+),.*", r"=\1", each) for each in overrides]
    assert isinstance(OmegaConf.to_container(composed(name, overrides), resolve=False), dict)
