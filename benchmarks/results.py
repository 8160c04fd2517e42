"""Write what a benchmark prints into its section of docs/results.md, with the date and the machine.

A benchmark calls `add_option(parser)` and ends with `sys.exit(recorded(main, __file__))`. With `--write`, everything
that `main` prints replaces the text between the section's markers. The prose around the markers stays as it is.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results.md"
OPTION = "--write"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--write` to a benchmark's options."""
    parser.add_argument(OPTION, action="store_true", help="also write what is printed into docs/results.md")


def recorded(main: Callable[[], int | None], script: str, *, markdown: bool = False) -> int:
    """Run `main` and return its exit code; with `--write`, put what it prints into the section of `script`.

    Output that is not Markdown is shown as preformatted text. If `main` fails, the page is not changed.
    """
    if OPTION not in sys.argv:
        return main() or 0
    copy = _Copy(sys.stdout)
    with redirect_stdout(copy):
        code = main() or 0
    printed = copy.text.strip()
    body = printed if markdown else f"```text\n{printed}\n```"
    name = f"benchmarks/{Path(script).name}"
    command = shlex.join([name, *(word for word in sys.argv[1:] if word != OPTION)])
    write_section(PAGE, name, f"*{machine()}, `{command}`, exit code {code}*\n\n{body}")
    return code


def write_section(page: Path, name: str, body: str) -> None:
    """Replace the text between the markers of `name` in `page`; raise `ValueError` if it has no such section."""
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    text = page.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"{page.name} must contain '{start}' and '{end}' exactly once")
    pattern = f"{re.escape(start)}.*?{re.escape(end)}"
    page.write_text(re.sub(pattern, lambda _: f"{start}\n{body}\n{end}", text, flags=re.DOTALL), encoding="utf-8")


def machine() -> str:
    """Return today's date and this machine's processors in a few words."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    processor = names[0] if names else platform.processor()
    return f"{datetime.now(timezone.utc):%Y-%m-%d}, {os.cpu_count()} processors, {processor}"


class _Copy:
    """A stream that passes text on and keeps a copy."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()
