from __future__ import annotations

import json
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from frm_mlflow import schema
from frm_mlflow.tracking.entry import VALUE_LENGTH, clean, record_entry
from tests.tracking.records import record

NOTE = "mlflow.note.content"


@pytest.mark.parametrize("name", ["![p](http://host/x.png)", "<img src=http://host/x.png>", "a|b [c](http://host)"])
def test_a_hostile_name_is_text_in_a_description(name: str) -> None:
    entry = record_entry(replace(record(), model=name), tracking_uri="", experiment="")
    shown = MarkdownIt("commonmark", {"html": True}).render(clean(entry.tags)[NOTE])
    assert "<img" not in shown
    assert "<a " not in shown
    assert entry.tags[schema.MODEL.key] == name


def test_a_description_of_any_origin_holds_no_image() -> None:
    cleaned = clean({NOTE: "# Import\n- ![p](http://host/x.png): 3 rows"})[NOTE]
    assert "<img" not in MarkdownIt("commonmark", {"html": True}).render(cleaned)


def test_long_provenance_stays_json() -> None:
    text = json.dumps({"file": "x" * 9000, "row": 7})
    cut = clean({schema.PROVENANCE.key: text})[schema.PROVENANCE.key]
    assert len(cut) <= VALUE_LENGTH
    assert json.loads(cut)["row"] == 7
