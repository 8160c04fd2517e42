"""Escapes names and other people's text for output: in Markdown, HTML, a terminal, CSV and MLflow's tags.

What was measured keeps its name unchanged. Only what people or programs would act on is changed for display.
This module imports only the standard library, except for the type of a table.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 200
"""Maximum number of characters shown of one name or cell; a longer one ends in an ellipsis."""
LONGEST_SENTENCE = 2_000
_ACTIVE = re.compile(r"&#?\w+;|[\\`*{}\[\]|~]|(?<![^\W_])_|_(?![^\W_])|^[-+#=]|^\d+[.)]")
"""Entities, which stay, and what Markdown acts on: marks, and line beginnings that start lists and headings."""
_SCHEME = re.compile(r"(?i)\b(https?|ftp|file|mailto|data|javascript):|\bwww\.")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|nan)", re.IGNORECASE)
_SHOWN_AS_ESCAPES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_NONCHARACTERS = "\ufffe\uffff"
"""Characters that XML does not allow, as it does not allow control characters."""
_JOINERS = "\u200c\u200d"
"""Format characters that words and emoji need; they do not change the direction of text."""


def visible(text: str, *, longest: int = LONGEST) -> str:
    r"""Return `text` on one line, with control and bidi characters as escapes, cut to `longest` with an ellipsis.

    >>> visible("net\x1b[2Jwork")
    'net\\x1b[2Jwork'
    """
    line = " ".join(text.split())
    short = line if len(line) <= longest else line[: longest - 1] + "…"
    return "".join(map(_spelled, short))


def printable(text: str) -> str:
    r"""Return `text` with control and bidi characters as escapes; line breaks and tabs stay.

    >>> printable("net\x1b[2Jwork\n")
    'net\\x1b[2Jwork\n'
    """
    return "".join(character if character in "\n\t" else _spelled(character) for character in text)


def markdown(text: str, *, longest: int = LONGEST) -> str:
    r"""Return text that Markdown and HTML show unchanged: no link, image, heading, table cell or element.

    >>> markdown("![p](http://host/x.png)")
    '!\\[p\\](http&#58;//host/x.png)'
    """
    literal = html.escape(visible(text, longest=longest), quote=False)
    without_links = _SCHEME.sub(lambda match: match[0][:-1] + ("&#58;" if match[0][-1] == ":" else "&#46;"), literal)
    return _ACTIVE.sub(_literal, without_links)


def _literal(match: re.Match[str]) -> str:
    if match[0].startswith("&"):
        return match[0]
    return f"{match[0][:-1]}\\{match[0][-1]}"


def without_images(text: str) -> str:
    """Return Markdown that fetches nothing when it is shown: images and HTML elements become text.

    >>> without_images("**net** ![p](http://host/x.png) <img src=y>")
    '**net** &#33;[p](http://host/x.png) &lt;img src=y>'
    """
    return re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", text.replace("![", "&#33;["))


def markdown_sentence(text: str) -> str:
    """Return a sentence, which may contain names, as Markdown."""
    return markdown(text, longest=LONGEST_SENTENCE)


def html_text(text: str, *, longest: int = LONGEST_SENTENCE) -> str:
    """Return text for an HTML element or attribute."""
    return html.escape(visible(text, longest=longest), quote=True)


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV in which no spreadsheet finds formulas: cells that look like one begin with an apostrophe.

    Numbers keep their sign; control and bidi characters are escaped.
    """
    words = table.select_dtypes(exclude="number").columns
    safe = table.assign(**{str(name): table[name].map(_cell) for name in words if isinstance(name, str)})
    return safe.rename(columns=_cell).to_csv(index=False)


def tag_value(text: str, *, longest: int) -> str:
    """Return `text` cut to `longest` characters; JSON stays valid JSON, with shorter strings and fewer items.

    >>> tag_value('{"a": "' + "x" * 50 + '"}', longest=20)
    '{"a": "xxxxxxxxxx…"}'
    """
    if len(text) <= longest:
        return text
    try:
        content = _json(text)
        return text[: longest - 1] + "…" if content is None else _fitting(content, longest)
    except RecursionError:  # nested too deeply to traverse: its beginning as a JSON string
        return json.dumps(text[: longest // 2 - 3] + "…", ensure_ascii=False)


def _spelled(character: str) -> str:
    if character not in _NONCHARACTERS and (
        unicodedata.category(character) not in _SHOWN_AS_ESCAPES or character in _JOINERS
    ):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _cell(value: object) -> object:
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    spelled = printable(value)
    return f"'{spelled}" if value.lstrip(" ").startswith(_FORMULA) else spelled


def _json(text: str) -> dict[str, object] | list[object] | None:
    if text[:1] not in ("{", "["):
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, (dict, list)) else None


def _fitting(content: dict[str, object] | list[object], longest: int) -> str:
    """Return JSON of at most `longest` characters: with the largest limit on strings that fits, then fewer items."""
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_dumped(content, middle)) <= longest else (low, middle - 1)
    if len(shown := _dumped(content, low)) <= longest:
        return shown
    half = len(content) // 2
    if isinstance(content, dict):
        return _fitting(dict(list(content.items())[:half]), longest)
    return _fitting(content[:half], longest)


def _dumped(content: object, limit: int) -> str:
    return json.dumps(_cut(content, limit), ensure_ascii=False)


def _cut(content: object, limit: int) -> object:
    if isinstance(content, str):
        return content if len(content) <= limit else content[: max(limit - 1, 0)] + "…"
    if isinstance(content, dict):
        return {key: _cut(value, limit) for key, value in content.items()}
    return [_cut(value, limit) for value in content] if isinstance(content, list) else content
