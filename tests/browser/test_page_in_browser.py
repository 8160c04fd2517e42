"""The /frm page in a real browser, together with the real MLflow UI."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient

from frm_mlflow.tracking.views import VIEWS
from tests.browser.conftest import PATIENCE_MS, Tab
from tests.browser.fleet import BOARDS, DEVICES, MANY, NASTY, NETWORKS

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=PATIENCE_MS)
OpenTab = Callable[..., Tab]


def ready(tab: Tab, address: str) -> Tab:
    tab.page.goto(address)
    settled(tab)
    return tab


def settled(tab: Tab) -> None:
    tab.page.wait_for_selector("main:not([aria-busy])")
    tab.page.wait_for_selector("main > section:not([hidden]), #message:not(:empty)")


def models_in(tab: Tab) -> list[str]:
    return tab.page.locator("main > section:not([hidden]) tbody td.name").all_inner_texts()


def test_the_frontier_is_drawn_listed_and_safe(frm_server: str, open_tab: OpenTab, screenshots: Path) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm")
    assert set(models_in(tab)) == set(NETWORKS)
    expect(tab.page.locator("#frontier .plot .main-svg").first).to_be_visible()
    # One trace per model family that is present, one point per model.
    assert tab.page.locator("#frontier .plot .scatterlayer .points path").count() == len(NETWORKS)
    tab.page.screenshot(path=screenshots / "page-frontier.png", full_page=True)
    assert tab.seen.complaints == []
    assert tab.seen.hosts == {urlsplit(frm_server).netloc}


def test_filters_narrow_and_the_link_keeps_the_selection(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(permissions=["clipboard-read", "clipboard-write"]), f"{frm_server}/frm")
    tab.page.get_by_label("Device", exact=True).select_option("Raspberry Pi")
    expect(tab.page.locator("#frontier-title")).to_contain_text("Raspberry Pi")
    tab.page.get_by_label("Cost", exact=True).select_option("latency_ms")
    expect(tab.page.locator("#frontier .summary")).to_contain_text("Latency")
    tab.page.get_by_role("button", name="Copy link").click()
    expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    link = tab.page.evaluate("navigator.clipboard.readText()")
    first = models_in(tab)

    other = ready(open_tab(), link)
    assert models_in(other) == first
    expect(other.page.locator("#frontier-title")).to_contain_text("Raspberry Pi")
    other.page.reload()
    settled(other)
    assert models_in(other) == first
    other.page.get_by_label("Device", exact=True).select_option("")
    settled(other)
    other.page.go_back()
    expect(other.page.locator("#frontier-title")).to_contain_text("Raspberry Pi")


def test_the_baseline_is_one(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm")
    tab.page.get_by_label("Baseline", exact=True).select_option("resnet18")
    expect(tab.page.locator("#frontier .plot")).to_contain_text("resnet18 = 1")
    row = tab.page.locator("#frontier tbody tr", has=tab.page.get_by_text("resnet18", exact=True))
    expect(row.locator("td").nth(3)).to_have_text("1")


def test_a_model_opens_its_runs_in_mlflow(frm_server: str, open_tab: OpenTab, screenshots: Path) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?device=Raspberry+Pi")
    with tab.page.context.expect_page() as opened:
        tab.page.get_by_role("link", name="mobilenet_v2: its runs in MLflow").click()
    mlflow = opened.value
    expect(mlflow.get_by_text("mobilenet_v2 · Raspberry Pi", exact=False).first).to_be_visible()
    assert mlflow.get_by_text("resnet18 · Raspberry Pi", exact=False).count() == 0
    mlflow.screenshot(path=screenshots / "mlflow-runs-of-a-model.png")

    with tab.page.context.expect_page() as opened:
        tab.page.locator("#frontier .plot .scatterlayer .points path").first.click(force=True)
    assert "searchFilter" in opened.value.url


def test_a_name_with_both_quotes_opens_its_run(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm")
    link = tab.page.get_by_role("link", name=f"{NASTY[1]}: its runs in MLflow")
    assert re.search(r"/runs/[0-9a-f]{32}$", link.get_attribute("href"))


def test_two_devices_are_compared(frm_server: str, open_tab: OpenTab, screenshots: Path) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?device=Raspberry+Pi&metric=latency_ms")
    tab.page.get_by_role("link", name="Compare two devices").click()
    expect(tab.page.locator("#compare .summary")).to_contain_text("Choose a second configuration")
    second = tab.page.get_by_label("Second", exact=True)
    value = second.locator("option", has_text="Galaxy <b>S24</b>").get_attribute("value")
    second.select_option(value)
    expect(tab.page.locator("#compare .summary")).to_contain_text(f"Over {len(NETWORKS)} common models")
    assert set(models_in(tab)) == set(NETWORKS)
    tab.page.screenshot(path=screenshots / "page-compare.png", full_page=True)
    query = parse_qs(urlsplit(tab.page.url).query)
    assert query["view"] == ["compare"]
    assert tab.seen.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["frontier", "compare", "recommend"])
def test_nothing_stands_in_the_way_of_assistive_technology(
    frm_server: str, open_tab: OpenTab, screenshots: Path, view: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = ready(open_tab(color_scheme=scheme), f"{frm_server}/frm?view={view}")
    found = axe.run(tab.page).response["violations"]
    serious = {item["id"]: item["help"] for item in found if item["impact"] in ("serious", "critical")}
    tab.page.screenshot(path=screenshots / f"page-{view}-{scheme}.png")
    assert serious == {}


def test_the_page_works_by_keyboard(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm")
    tab.page.keyboard.press("Tab")
    expect(tab.page.get_by_role("link", name="Skip to the result")).to_be_focused()
    reached = set()
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        reached.add(tab.page.evaluate("document.activeElement.name || document.activeElement.textContent"))
    assert {"tier", "device", "runtime", "precision", "batch_size", "metric", "baseline"} <= reached


def test_an_empty_experiment_gives_the_remedy(frm_server: str, open_tab: OpenTab) -> None:
    empty = MlflowClient(frm_server).get_experiment_by_name("empty").experiment_id
    tab = ready(open_tab(), f"{frm_server}/frm?experiment={empty}")
    expect(tab.page.locator("#message")).to_contain_text("frm-mlflow bench")
    assert tab.seen.complaints == []


def test_filters_that_contradict_each_other_can_be_reset(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?device=Raspberry+Pi&tier=gpu")
    expect(tab.page.locator("#message")).to_contain_text("No configuration passes")
    tab.page.get_by_role("button", name="Reset the filters").click()
    expect(tab.page.locator("#frontier-title")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "may not read"), (404, "is gone"), (500, "answered 500"), (401, "not logged in")],
)
def test_a_server_that_refuses_is_told_in_words_and_asked_again(
    frm_server: str, open_tab: OpenTab, status: int, words: str
) -> None:
    tab = open_tab()
    answers = iter([status])

    def answer(route: object) -> None:
        failed = next(answers, None)
        if failed:
            route.fulfill(status=failed, json={"error": "<b>no</b>"})
        else:
            route.continue_()

    tab.page.route("**/frm/api/view**", answer)
    ready(tab, f"{frm_server}/frm")
    expect(tab.page.locator("#message.problem")).to_contain_text(words)
    tab.page.get_by_role("button", name="Try again").click()
    expect(tab.page.locator("#frontier-title")).to_be_visible()


def test_a_first_read_shows_its_progress(frm_server: str, open_tab: OpenTab) -> None:
    tab = open_tab()
    answers = iter([120, 240])

    def answer(route: object) -> None:
        runs = next(answers, None)
        if runs:
            route.fulfill(status=202, json={"reading": runs})
        else:
            route.continue_()

    tab.page.route("**/frm/api/view**", answer)
    tab.page.goto(f"{frm_server}/frm")
    expect(tab.page.locator("#message")).to_contain_text("120 so far")
    expect(tab.page.locator("#frontier-title")).to_be_visible()


def test_unknown_values_in_a_link_break_nothing(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?view=<script>&configuration=zzz&other=%00&device={next(iter(DEVICES))}")
    expect(tab.page.locator("#frontier-title")).to_contain_text("this machine")


def experiment_id(uri: str, name: str) -> str:
    return str(MlflowClient(uri).get_experiment_by_name(name).experiment_id)


def test_one_device_only_has_nothing_to_compare_with(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?experiment={experiment_id(frm_server, 'one device')}")
    assert set(models_in(tab)) == set(NETWORKS)
    tab.page.get_by_role("link", name="Compare two devices").click()
    expect(tab.page.locator("#compare .summary")).to_contain_text("Choose a second configuration")
    assert tab.page.get_by_label("Second", exact=True).locator("option").count() == 1
    assert tab.seen.complaints == []


def test_one_model_only_is_its_own_frontier_and_no_ranking(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?experiment={experiment_id(frm_server, 'one model')}")
    assert models_in(tab) == ["resnet50"]
    expect(tab.page.locator("#frontier .summary")).to_contain_text("1 of 1 model are on the frontier")
    tab.page.get_by_role("link", name="Compare two devices").click()
    tab.page.get_by_label("Second", exact=True).select_option(index=1)
    expect(tab.page.locator("#compare .summary")).to_contain_text("1 model with FRM in common; 3 are needed")
    assert tab.seen.complaints == []


def test_three_thousand_models_start_short_and_are_all_there(
    frm_server: str, open_tab: OpenTab, screenshots: Path
) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?experiment={experiment_id(frm_server, 'many models')}")
    assert len(models_in(tab)) < MANY / 10
    tab.page.screenshot(path=screenshots / "page-many-models.png", full_page=True)
    tab.page.get_by_role("button", name=f"Show all {MANY} models").click()
    assert tab.page.locator("#frontier tbody tr").count() == MANY
    assert tab.seen.complaints == []


def test_the_model_table_fits_a_laptop_and_the_page_a_phone(
    frm_server: str, open_tab: OpenTab, screenshots: Path
) -> None:
    tab = open_tab()
    tab.page.set_viewport_size({"width": 1280, "height": 900})
    ready(tab, f"{frm_server}/frm?experiment={experiment_id(frm_server, 'many models')}")
    assert tab.page.locator("#frontier .table").evaluate("table => table.scrollWidth - table.clientWidth") <= 0
    tab.page.set_viewport_size({"width": 400, "height": 900})
    tab.page.reload()
    settled(tab)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400
    tab.page.screenshot(path=screenshots / "page-phone.png", full_page=True)


def test_a_phone_shows_the_chart_first_and_folds_the_filters(
    frm_server: str, open_tab: OpenTab, screenshots: Path
) -> None:
    tab = open_tab()
    tab.page.set_viewport_size({"width": 390, "height": 844})
    ready(tab, f"{frm_server}/frm")
    expect(tab.page.get_by_label("Device", exact=True)).to_be_hidden()
    chart = tab.page.locator("#frontier .plot").bounding_box()
    filters = tab.page.locator("#filters summary")
    assert chart["y"] < filters.bounding_box()["y"] < 844
    tab.page.screenshot(path=screenshots / "page-phone-first-screen.png")
    filters.click()
    tab.page.get_by_label("Device", exact=True).select_option("Raspberry Pi")
    expect(tab.page.locator("#frontier-title")).to_contain_text("Raspberry Pi")


def test_few_points_off_the_frontier_are_named(frm_server: str, open_tab: OpenTab, screenshots: Path) -> None:
    tab = open_tab()
    tab.page.set_viewport_size({"width": 1440, "height": 900})
    ready(tab, f"{frm_server}/frm?device=Raspberry+Pi")
    expect(tab.page.locator("#definition")).to_contain_text("geometric mean")
    best = tab.page.locator("#frontier tbody tr.best td.name").all_inner_texts()
    names = [text.strip() for text in tab.page.locator("#frontier .plot .textpoint").all_text_contents()]
    assert set(names) & set(NETWORKS) - set(best)
    tab.page.screenshot(path=screenshots / "page-first-screen.png")


def test_an_unknown_device_gets_near_names_on_the_page(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?device=Rasberry+Pi")
    expect(tab.page.locator("#message")).to_contain_text("Did you mean 'Raspberry Pi'?")


def test_many_devices_are_searched_by_typing(frm_server: str, open_tab: OpenTab) -> None:
    tab = ready(open_tab(), f"{frm_server}/frm?experiment={experiment_id(frm_server, 'many devices')}")
    device = tab.page.get_by_label("Device", exact=True)
    assert tab.page.locator("#device-names option").count() == BOARDS
    device.fill("Bord 7")
    device.press("Enter")
    expect(tab.page.locator("#message")).to_contain_text("Did you mean 'Board 7'")
    device.fill("Board 7")
    device.press("Enter")
    expect(tab.page.locator("#frontier-title")).to_contain_text("Board 7 ")
    assert tab.seen.complaints == []


def test_a_link_to_a_deleted_run_still_leads_to_mlflow(frm_server: str, open_tab: OpenTab) -> None:
    client, tab = MlflowClient(frm_server), open_tab()
    where = f"{frm_server}/frm?experiment={experiment_id(frm_server, 'one model')}"
    ready(tab, where)
    address = tab.page.locator("#frontier tbody a", has_text="open").first.evaluate("link => link.href")
    run_id = re.search(r"runs/([0-9a-f]{32})", address)[1]
    client.delete_run(run_id)
    try:
        tab.page.goto(address)
        expect(tab.page.get_by_text("resnet50").first).to_be_visible()
        ready(tab, where)
        expect(tab.page.locator("#frontier-title")).to_be_visible()
    finally:
        client.restore_run(run_id)


def test_a_slow_server_is_reported_while_waiting(frm_server: str, open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.page.clock.install()
    held = []
    tab.page.route("**/frm/api/view**", lambda route: held.append(route))
    tab.page.goto(f"{frm_server}/frm")
    while not held:
        tab.page.wait_for_timeout(50)
    tab.page.clock.fast_forward(10_000)
    expect(tab.page.locator("#message")).to_contain_text("slow to answer")
    held[0].continue_()
    expect(tab.page.locator("#frontier-title")).to_be_visible()
    expect(tab.page.locator("#message")).to_be_empty()
    assert tab.seen.complaints == []


def test_mlflows_own_table_offers_the_saved_comparisons(frm_server: str, open_tab: OpenTab, screenshots: Path) -> None:
    page = open_tab().page
    page.goto(f"{frm_server}/#/experiments/{experiment_id(frm_server, 'frm')}/runs")
    page.get_by_role("button", name="Views").click()
    for view in VIEWS:
        expect(page.get_by_text(view.name, exact=True)).to_be_visible()
    page.get_by_text("Cheapest first", exact=True).click()
    expect(page.get_by_role("button", name="Sort: frm")).to_be_visible()
    # MLflow shows only the view's columns that the runs have: these were not measured along with a baseline.
    expect(page.get_by_role("columnheader", name="accuracy/top1").first).to_be_visible()
    expect(page.get_by_role("columnheader", name="latency/p50_ms")).to_have_count(0)
    expect(page.get_by_text("resnet18 · Raspberry Pi", exact=False).first).to_be_visible()
    page.screenshot(path=screenshots / "mlflow-saved-view.png")
