"""Output to a terminal, in which names stay text: no markup, no emoji codes, no control characters."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import TextColumn
from rich.text import Text

from frm_mlflow.escape import printable

PIPE_WIDTH = 120
"""Width in columns if the output is not a terminal."""


class Terminal(Console):
    """A rich console that prints words, also those in tables, as they are; control characters appear as escapes.

    Styles are given as `Text` objects.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text of a string, which may be the cell of a table."""
        return super().render_str(printable(text), **options)


def terminal(*, stderr: bool) -> Terminal:
    """Return the console of standard error or output; a pipe gets a fixed width."""
    out = Terminal(stderr=stderr)
    return out if out.is_terminal else Terminal(stderr=stderr, width=PIPE_WIDTH)


class WordsColumn(TextColumn):
    """The current step of a progress bar."""

    def __init__(self) -> None:
        super().__init__("{task.description}", markup=False)
