from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import datetime, timezone
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import ANALYSES, AnalysisReport, run_all
from frm_mlflow.analysis.synthetic import paper_sized_frame
from frm_mlflow.report.contents import Contents, contents_of
from frm_mlflow.report.page import page
from frm_mlflow.report.snapshot import prepare

OPTIONS = AnalysisOptions(resamples=100, shuffles=10)
NASTY = "</script><script>alert(1)</script>\u2028\x1b[2J\u202e{{ 7 * 7 }} & \"'"


def contents(frame: pd.DataFrame) -> tuple[AnalysisReport, Contents]:
    report = run_all(frame, options=OPTIONS, rng=np.random.default_rng(0))
    shown = contents_of(
        report,
        prepare(frame, digest="d"),
        title=f"A fleet {NASTY}",
        made_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
        environment={"frm-mlflow": "0", "filter": NASTY},
        options=asdict(OPTIONS),
    )
    return report, shown


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    fleet = paper_sized_frame(np.random.default_rng(0))
    devices = sorted(set(fleet["device"]))
    kept = fleet[fleet["device"].isin([*devices[:3], *devices[-3:], *devices[40:43]])].reset_index(drop=True)
    kept["model"] = kept["model"].replace("squeezenet1_1", NASTY)
    return kept


@pytest.fixture(scope="module")
def written(frame: pd.DataFrame) -> tuple[AnalysisReport, Contents, str]:
    report, shown = contents(frame)
    return report, shown, page(shown)


class Structure(HTMLParser):
    """Elements by tag, and the content of each script and of each element with an id."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts = 0
        self.figures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.attributes += attrs
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if tag == "a" else []
        self.scripts += tag == "script"
        self.figures += "data-figure" in values


def test_each_analysis_has_a_section_with_its_sentences(
    written: tuple[AnalysisReport, Contents, str],
) -> None:
    report, shown, _ = written
    assert [section.id for section in shown.sections] == [
        n for n in ANALYSES if n in {*report.results, *report.refused}
    ]
    by_id = {section.id: section for section in shown.sections}
    assert all(by_id[name].sentences == result.sentences for name, result in report.results.items())
    assert {text for _, text in shown.summary} >= {result.sentences[0] for result in report.results.values()}


def test_names_stay_text(written: tuple[AnalysisReport, Contents, str]) -> None:
    html = written[2]
    assert "<script>alert" not in html
    assert "{{ 7 * 7 }}" in html, "names are not templates"
    assert not {"\u2028", "\x1b", "\u202e"} & set(html.partition('id="report-data"')[0])
    structure = Structure()
    structure.feed(html)
    # The data, plotly.js and the page's own module: no name has added a script.
    assert structure.scripts == 3
    data = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    assert NASTY in json.loads(data[1])["boards"][0]["columns"]["model"]


def test_the_page_requests_nothing_and_has_all_figures(written: tuple[AnalysisReport, Contents, str]) -> None:
    _, shown, html = written
    assert "default-src 'none'" in html
    structure = Structure()
    structure.feed(html)
    assert not [value for name, value in structure.attributes if name == "src"]
    assert all(link.startswith("#") for link in structure.links)
    assert {link[1:] for link in structure.links} <= set(structure.ids)
    assert len(structure.ids) == len(set(structure.ids))
    figures = sum(len(section.figures) for section in shown.sections)
    assert structure.figures == figures > 10


def test_the_page_lists_left_out_rows_and_options(written: tuple[AnalysisReport, Contents, str]) -> None:
    report, _, html = written
    assert all(reason in html for reason in report.selection.left_out["reason"])
    assert all(f"<dt>{name}</dt>" in html for name in asdict(OPTIONS))


def test_one_device_or_one_model_makes_a_page(frame: pd.DataFrame) -> None:
    one_device = frame[frame["device"] == frame["device"].iloc[0]]
    one_model = one_device[one_device["model"] == "resnet50"]
    for few in (one_device, one_model):
        report, shown = contents(few.reset_index(drop=True))
        assert report.refused
        html = page(shown)
        assert "Not answered" in html
        assert any("cannot answer" in text for _, text in shown.summary)


def test_the_bundle_has_no_module_left_to_fetch(written: tuple[AnalysisReport, Contents, str]) -> None:
    module = written[2].rpartition('<script type="module">')[2]
    assert not re.search(r"^(import|export) ", module, re.MULTILINE)
    assert "drawFrontier" in module


def test_the_first_screen_answers_which_model(written: tuple[AnalysisReport, Contents, str]) -> None:
    _, shown, html = written
    assert len(shown.picks) == 3
    assert all("FRM" in text and "ms" in text and "top-1" in text for text in shown.picks)
    assert html.index("Which model?") < html.index("The analyses use")


def test_the_leaderboard_has_the_columns_of_the_terminals(frame: pd.DataFrame) -> None:
    flagged = frame.assign(remarks="contention", protocol="quick", run_id=[f"run {row}" for row in range(len(frame))])
    _, shown = contents(flagged)
    (section,) = [each for each in shown.sections if each.id == "frm"]
    table = section.tables["leaderboard"]
    assert {"rank", "frm", "frm_common", "common_baseline", "latency_ms", "protocol", "remarks"} <= set(table.columns)
    assert set(table["remarks"]) == {"contention"}
    assert set(table["protocol"]) == {"quick"}
    assert (table["frontier"] == "yes").any()
    assert "<summary>Table: leaderboard" in page(shown)
