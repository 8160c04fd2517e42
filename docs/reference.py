"""The pages under `reference/`, built from the code whenever the site is built (`make docs`); none is committed.

`commands.md` contains each command's `--help`, `configuration.md` the files of `conf/` as they are shipped,
and `metrics-and-tags.md` the keys in `frm_mlflow/schema.py`. mkdocs calls `on_files`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from frm_mlflow import cli, schema

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference pages to the site."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def pages() -> dict[str, str]:
    """Return every reference page by file name."""
    return {
        "commands.md": "\n".join(_commands()),
        "configuration.md": "\n".join(_configuration()),
        "metrics-and-tags.md": "\n".join(_keys()),
    }


def commands() -> list[str]:
    """Return the commands that exist: those with a runner, and those without a configuration."""
    with_runner = [name for name in cli.WITH_SETTINGS if importlib.util.find_spec(f"frm_mlflow.runners.{name}")]
    return [*with_runner, *cli.WITH_OPTIONS]


def config_files() -> list[Path]:
    """Return the files of `conf/`, those of the commands first."""
    return sorted(CONF.rglob("*.yaml"), key=lambda path: (len(path.relative_to(CONF).parts), path))


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "Each command prints this with `--help`. Settings are `key=value`; `--key value` means the same.\n"
    yield _fenced(_help([]), "text")
    for name in commands():
        yield f"## frm-mlflow {name}\n"
        yield _fenced(_help([name]), "text")


def _help(command: list[str]) -> str:
    """Return what a command prints for `--help`."""
    shown = io.StringIO()
    arguments = [*command, "--help"]
    argv, columns = list(sys.argv), os.environ.get("COLUMNS", "")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            cli.dispatch(arguments)
    finally:
        sys.argv, os.environ["COLUMNS"] = argv, columns
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def _configuration() -> Iterator[str]:
    yield "# Configuration\n"
    yield (
        "Every file of `conf/`, as it is shipped. A command's file names its groups under `defaults`; a group is "
        "selected with `group=NAME` and changed with `group.key=value`.\n"
    )
    group = None
    for path in config_files():
        relative = path.relative_to(CONF)
        heading = relative.parent.as_posix()
        if heading != group:
            group = heading
            yield f"## {'The commands' if heading == '.' else heading}\n"
        yield f"### {relative.as_posix()}\n"
        yield _fenced(path.read_text(encoding="utf-8").strip(), "yaml")


def _keys() -> Iterator[str]:
    yield "# Metrics and tags\n"
    yield "The metrics and tags of a benchmark's run, and the column of the tidy frame with the same value.\n"
    yield "## Metrics\n"
    yield "| key | column | unit | better | meaning |\n|---|---|---|---|---|"
    for metric in schema.METRICS:
        yield f"| `{metric.key}` | `{metric.column}` | {metric.unit} | {_better(metric)} | {_cell(metric.meaning)} |"
    yield "\n## Tags\n"
    yield "| key | column | meaning |\n|---|---|---|"
    for tag in schema.TAGS:
        yield f"| `{tag.key}` | `{tag.column}` | {_cell(tag.meaning)} |"
    yield ""


def _better(metric: schema.Metric) -> str:
    return "–" if metric.direction == "none" else metric.direction


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```\n"
