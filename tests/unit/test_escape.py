from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from frm_mlflow import escape

HOSTILE = (
    "![p](http://host/x.png)",
    "[click](javascript:alert(1))",
    "<img src=http://host/x.png>",
    "<http://host/x>",
    "# heading",
    "a | b",
    "`code` *bold* ~~gone~~",
    "[red]rich[/red]",
    "&lt;img src=x&gt;",
    "x\u202egnp.exe",
    "net\x1b[2J\x9bwork",
    "long" * 1250,
)


class Shown(HTMLParser):
    """The elements and the text of a document."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(markdown: str) -> Shown:
    return Shown(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_name_as_it_is(name: str) -> None:
    shown = rendered(f"- {escape.markdown(name)}")
    assert shown.tags == {"ul", "li"}
    assert shown.text.strip() == escape.visible(name)


@given(st.text(max_size=60))
def test_markdown_of_any_name_is_text(name: str) -> None:
    shown = rendered(f"**net** {escape.markdown(name)} end")
    assert shown.tags == {"p", "strong"}
    assert " ".join(shown.text.split()) == " ".join(f"net {escape.visible(name)} end".split())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_markdown_table_is_one_cell(name: str) -> None:
    shown = rendered(f"| a | b |\n|---|---|\n| {escape.markdown(name)} | 1 |")
    assert shown.tags == {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize(
    "text", ["![p](http://h/x)", "![p][r]\n\n[r]: http://h/x", "<img src=http://h/x>", "<iframe src=x>"]
)
def test_a_description_holds_no_image(text: str) -> None:
    assert not rendered(escape.without_images(f"**net** {text}")).tags & {"img", "iframe"}


@given(st.text(max_size=60))
def test_html_of_any_name_is_text(name: str) -> None:
    shown = Shown(f"<p>{escape.html_text(name)}</p>")
    assert shown.tags == {"p"}
    assert shown.text == escape.visible(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_control_or_bidi_character_reaches_a_terminal(name: str) -> None:
    shown = escape.visible(name)
    assert not set(shown) & {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u2066", "\u200f"}
    assert len(shown) <= 4 * escape.LONGEST


def test_emoji_and_arabic_stay_as_they_are() -> None:
    for name in ("network 🦊 v2", "مرحبا بالعالم", "👩\u200d💻"):
        assert escape.visible(name) == name


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", " =1", "\r=1"])
def test_no_cell_of_csv_is_a_formula(name: str) -> None:
    table = pd.DataFrame({"model": [name], "=column": ["-5"], "ms": [-1.5]})
    head, row = csv.reader(io.StringIO(escape.csv_text(table)))
    assert all(cell[:1] == "'" for cell in (row[0], head[1]))
    assert row[1:] == ["-5", "-1.5"]


def test_csv_of_plain_names_is_unchanged() -> None:
    table = pd.DataFrame({"model": ["resnet50", "a, b"], "on": [True, False], "ms": [1.0, float("nan")]})
    assert escape.csv_text(table) == table.to_csv(index=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(max_size=30), JSON) | st.lists(JSON), st.integers(10, 200))
def test_json_is_never_cut_into_invalid_json(content: object, longest: int) -> None:
    text = json.dumps(content, ensure_ascii=False)
    cut = escape.tag_value(text, longest=longest)
    assert len(cut) <= longest
    json.loads(cut)
    assert cut == text or len(text) > longest


def test_a_long_string_is_cut_and_the_rest_of_the_json_stays() -> None:
    cut = json.loads(escape.tag_value(json.dumps({"file": "x" * 9000, "row": 7}), longest=5000))
    assert cut["row"] == 7
    assert cut["file"].startswith("xxx")
    assert cut["file"].endswith("…")
    assert len(cut["file"]) > 4900


@pytest.mark.parametrize("text", ["[" * 900 + "]" * 900, "[" * 9000 + "]" * 9000])
def test_deep_json_is_cut_into_valid_json(text: str) -> None:
    cut = escape.tag_value(text, longest=100)
    assert len(cut) <= 100
    json.loads(cut)


def test_other_text_is_cut_with_an_ellipsis() -> None:
    assert escape.tag_value("word " * 50, longest=10) == "word word…"
