from __future__ import annotations

import io

import pytest
from rich.progress import Progress
from rich.table import Table

from frm_mlflow.terminal import Terminal, WordsColumn

NAMES = ("[red]x[/red]", "[/]", "[link=http://host]net", ":warning:", "a\x1b[2Jb\x07", "net\u202egnp", "[bold")


def shown_names(name: str) -> str:
    return name.replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("\u202e", "\\u202e")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(name: str) -> None:
    out = io.StringIO()
    table = Table("model", name, title=name)
    table.add_row(name, "1")
    console = Terminal(file=out, force_terminal=True, width=200, color_system="truecolor")
    console.print(table)
    console.print(f"Logged {name}")
    assert out.getvalue().count(shown_names(name)) == 4
    assert "\x1b[2J" not in out.getvalue()
    assert "\x1b[31m" not in out.getvalue()


def test_a_progress_bar_prints_names_as_they_are() -> None:
    out = io.StringIO()
    console = Terminal(file=out, force_terminal=True, width=200)
    with Progress(WordsColumn(), console=console) as bar:
        bar.add_task("[red]x[/red]: loading", total=1)
    assert "[red]x[/red]: loading" in out.getvalue()


def test_lines_and_tabs_stay() -> None:
    out = io.StringIO()
    Terminal(file=out, width=200).print("one\ntwo\r")
    assert out.getvalue() == "one\ntwo\\r\n"
