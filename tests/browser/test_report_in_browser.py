"""The report in a browser: offline, in a sandboxed frame as in MLflow's artifact viewer, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.seeding import synthetic_records
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import run_all
from frm_mlflow.analysis.synthetic import paper_sized_frame
from frm_mlflow.frame import from_records
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.report.contents import contents_of
from frm_mlflow.report.page import page
from frm_mlflow.report.snapshot import prepare
from tests.browser.conftest import PATIENCE_MS, Tab
from tests.browser.fleet import MANY, fleet

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=PATIENCE_MS)
LARGEST = 8 * 2**20


def write_report(frame: pd.DataFrame, path: Path) -> Path:
    options = AnalysisOptions(resamples=100, shuffles=10)
    results = run_all(frame, options=options, rng=np.random.default_rng(0))
    shown = contents_of(
        results,
        prepare(frame, digest="d"),
        title="ResultMatrix <b>report</b>",
        made_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
        environment={"frm-mlflow": "test"},
        options=asdict(options),
    )
    path.write_text(page(shown), encoding="utf-8")
    return path


def frame_of(records: Iterable[BenchmarkRecord]) -> pd.DataFrame:
    kept = list(records)
    return from_records(kept, run_ids=[f"run-{number}" for number in range(len(kept))])


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a simulation of the paper's fleet, and of a few benchmarks with malicious names."""
    frame = pd.concat([paper_sized_frame(np.random.default_rng(0)), frame_of(fleet())], ignore_index=True)
    return write_report(frame, tmp_path_factory.mktemp("report") / "report.html")


ODD = {
    "one device": lambda: [each for each in fleet() if each.configuration.device == "Raspberry Pi"],
    "one model": lambda: [each for each in fleet() if each.model == "resnet50"],
    "one benchmark": lambda: fleet()[:1],
    "many models": lambda: synthetic_records(MANY, rng=np.random.default_rng(0), models=MANY),
}


@pytest.mark.parametrize("name", ODD)
def test_the_report_of_an_odd_fleet_can_be_read(
    name: str, open_tab: Callable[..., Tab], screenshots: Path, tmp_path: Path
) -> None:
    path = write_report(frame_of(ODD[name]()), tmp_path / "report.html")
    assert path.stat().st_size <= LARGEST
    tab = open_tab(offline=True)
    tab.page.goto(path.as_uri())
    tab.page.wait_for_selector("html[data-drawn]", state="attached")
    assert tab.page.locator(".plot:visible:not(:has(.main-svg))").count() == 0
    expect(tab.page.locator("#explore")).to_be_visible()
    expect(tab.page.locator("#summary")).to_contain_text(str(len(list(ODD[name]()))))
    expect(tab.page.locator("#summary")).to_contain_text("These runs cannot answer")
    tab.page.screenshot(path=screenshots / f"report-{name.replace(' ', '-')}.png", full_page=name != "many models")
    assert tab.seen.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_without_network(
    report_file: Path, open_tab: Callable[..., Tab], screenshots: Path, scheme: str
) -> None:
    assert report_file.stat().st_size <= LARGEST
    tab = open_tab(color_scheme=scheme, offline=True)
    tab.page.goto(report_file.as_uri())
    tab.page.wait_for_selector("html[data-drawn]", state="attached")
    assert tab.page.locator(".plot").count() > 10
    assert tab.page.locator(".plot:not(:has(.main-svg))").count() == 0
    assert tab.seen.hosts == {""}
    assert tab.seen.complaints == []
    tab.page.screenshot(path=screenshots / f"report-{scheme}.png", full_page=True)
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(tab.page).response["violations"]
    assert {item["id"]: item["help"] for item in found if item["impact"] in ("serious", "critical")} == {}


def test_a_configuration_is_chosen_by_keyboard(report_file: Path, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    tab.page.goto(report_file.as_uri())
    before = tab.page.locator("#board-summary").inner_text()
    tab.page.locator("#board").focus()
    tab.page.keyboard.press("End")
    expect(tab.page.locator("#board-summary")).not_to_have_text(before)
    expect(tab.page.locator("#board-frontier .main-svg").first).to_be_visible()


def test_it_draws_in_a_sandboxed_frame(report_file: Path, open_tab: Callable[..., Tab], tmp_path: Path) -> None:
    # MLflow's artifact viewer puts an HTML artifact into a frame that allows only scripts.
    viewer = tmp_path / "viewer.html"
    source = escape(report_file.read_text(encoding="utf-8"), quote=True)
    viewer.write_text(f'<iframe sandbox="allow-scripts" width="1200" height="800" srcdoc="{source}"></iframe>')
    tab = open_tab()
    tab.page.goto(viewer.as_uri())
    frame = tab.page.frame_locator("iframe")
    expect(frame.locator("#board-frontier .main-svg").first).to_be_visible()
    assert tab.seen.complaints == []


def test_it_prints(report_file: Path, open_tab: Callable[..., Tab], screenshots: Path) -> None:
    tab = open_tab(color_scheme="dark")
    tab.page.goto(report_file.as_uri())
    tab.page.wait_for_selector("html[data-drawn]", state="attached")
    printed = tab.page.pdf(path=screenshots / "report.pdf", print_background=True)
    assert printed.startswith(b"%PDF")
