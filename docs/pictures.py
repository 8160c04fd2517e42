"""Draw the pictures of the docs from real runs: `python -m docs.pictures sqlite:///mlflow.db` after `make demo`.

Writes `docs/images/`: the terminal's leaderboard (SVG), the accuracy-FRM plot, the /frm page and the comparisons of
`docs/how-to/mlflow-ui.md` in MLflow's own UI (PNG, through a real server and chromium).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from mlflow import MlflowClient
from playwright.sync_api import Browser, Page
from rich.console import Console

from benchmarks.chromium import running_browser
from benchmarks.mlflow_server import running_server
from frm_mlflow.report import leaderboard
from frm_mlflow.report.figures import write_png
from frm_mlflow.tracking import server
from frm_mlflow.tracking.query import benchmarks

IMAGES = Path(__file__).parent / "images"
BENCHMARKS = "tags.`frm.kind` = 'benchmark'"
PATIENCE_MS = 60_000
SETTLED_MS = 2_500
"""MLflow's UI has no mark of being done: charts are drawn after the last answer."""
# Without one of the fonts that MLflow's UI asks for, digits come from the emoji font.
FONT = "* { font-family: 'DejaVu Sans', sans-serif !important }"
CHOSEN = {"mlflow.workflowType_v1": '"machine_learning"', "mlflow.assistant.panelOpen_v1": "false"}
"""The browser state after "Model training" was selected and the assistant was closed."""


def draw_leaderboard(uri: str, experiment: str) -> None:
    """Draw what the terminal shows, and the accuracy-FRM plot."""
    board = leaderboard.leaderboard(benchmarks(server.connect(uri), [experiment], cached=False).frame)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=96, file=nowhere)
        console.print(leaderboard.terminal_table(board))
    console.save_svg(str(IMAGES / "leaderboard.svg"), title="frm-mlflow bench")
    write_png({IMAGES / "accuracy_frm.png": leaderboard.accuracy_frm_figure(board)})


def draw_page(browser: Browser, uri: str) -> None:
    """Draw the /frm page as a browser shows it; it opens the experiment `frm`."""
    with _tab(browser) as page:
        page.goto(f"{uri}/frm")
        page.wait_for_selector("main:not([aria-busy]) .main-svg")
        page.wait_for_timeout(SETTLED_MS)
        page.screenshot(path=IMAGES / "page.png")


def draw_comparisons(browser: Browser, uri: str, experiment: str) -> None:
    """Draw the comparisons in MLflow's UI, the table through the view that frm-mlflow has saved."""
    client = MlflowClient(uri)
    number = client.get_experiment_by_name(experiment).experiment_id
    table = f"{uri}/#/experiments/{number}/runs"
    chosen = {
        "searchFilter": BENCHMARKS,
        "orderByKey": "metrics.`frm`",
        "orderByAsc": "true",
        "compareRunsMode": "CHART",
    }
    with _tab(browser) as page:
        remembered = (
            f"for (const [key, value] of Object.entries({json.dumps(CHOSEN)})) localStorage.setItem(key, value)"
        )
        _look(page, table)  # at the very first visit the assistant opens by itself
        page.add_init_script(remembered)
        _look(page, f"{table}?viewStateShareKey=frm-cheapest", picture="ui-cheapest.png")
        _look(page, f"{table}?{urlencode(chosen)}", picture="ui-charts.png")


def _look(page: Page, address: str, *, picture: str = "") -> None:
    page.goto("about:blank")  # another address after the # alone would load nothing
    page.goto(address)
    page.get_by_text(" · ").first.wait_for()
    page.wait_for_timeout(SETTLED_MS)
    page.add_style_tag(content=FONT)
    page.wait_for_timeout(SETTLED_MS)
    if picture:
        page.screenshot(path=IMAGES / picture)


@contextmanager
def _tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def main(database: str, experiment: str = "frm") -> None:
    """Draw all pictures."""
    IMAGES.mkdir(exist_ok=True)
    draw_leaderboard(database, experiment)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder), backend=database, options=("--app-name", "frm")) as uri,
        running_browser() as browser,
    ):
        draw_page(browser, uri)
        draw_comparisons(browser, uri, experiment)


if __name__ == "__main__":
    main(*sys.argv[1:])
