"""Write docs/reference/*.md from the code: `python docs/reference.py`.

Commands are asked for their own `--help`, configuration is `conf/` as it is shipped, metrics and
tags are `frm_mlflow/schema.py`. `tests/unit/docs` fails where one is missing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from frm_mlflow import cli, schema

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
OUTPUT = ROOT / "docs" / "reference"
GENERATED = "<!-- Written by `python docs/reference.py` from the code; change that instead. -->\n\n"


def main() -> None:
    """Write all pages."""
    OUTPUT.mkdir(exist_ok=True)
    for name, text in pages().items():
        (OUTPUT / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return every reference page by file name."""
    return {
        "commands.md": GENERATED + "\n".join(_commands()),
        "configuration.md": GENERATED + "\n".join(_configuration()),
        "metrics-and-tags.md": GENERATED + "\n".join(_keys()),
    }


def commands() -> list[str]:
    """Return the commands that exist: those with a runner, and those without a configuration."""
    with_runner = [name for name in cli.WITH_SETTINGS if importlib.util.find_spec(f"frm_mlflow.runners.{name}")]
    return [*with_runner, *cli.WITH_OPTIONS]


def config_files() -> list[Path]:
    """Return the files of `conf/`, the commands' own first."""
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
        "chosen with `group=NAME` and changed with `group.key=value`.\n"
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
    yield "What a benchmark's run carries, and the column of the tidy frame that holds the same fact.\n"
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


if __name__ == "__main__":
    main()
