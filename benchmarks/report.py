"""Check the report of a tracking database: its size, how fast chromium opens it, and whether every figure is drawn.

    python benchmarks/report.py --check sqlite:///mlflow.db --experiments frm,aihub

Writes the report with `frm-mlflow report`, opens the file in chromium without a network, and waits
until every figure is drawn. `--check` exits with 1 unless the report is at most 8 MB, can be read within
3 s (the page's load event, with the first configuration drawn), draws every figure and makes no
requests.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from chromium import running_browser
from playwright.sync_api import Browser
from results import add_option, recorded

from frm_mlflow import cli

LARGEST_MB, OPEN_S = 8.0, 3.0
# The browser's clock starts at the navigation; the figure is painted in the next frame.
OPENED = """() => new Promise((done) => {
  const look = () => document.readyState === "complete" && document.querySelector("#board-frontier .main-svg")
    ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())))
    : requestAnimationFrame(look);
  look();
})"""
DRAWN = """() => new Promise((done) => {
  const look = () => document.documentElement.dataset.drawn ? done(performance.now()) : setTimeout(look, 20);
  look();
})"""


@dataclass(frozen=True)
class Opening:
    """One opening of the report in a new tab."""

    open_s: float
    drawn_s: float
    figures: int
    not_drawn: int
    requests: tuple[str, ...]
    complaints: tuple[str, ...]


def open_once(browser: Browser, report: Path, *, look: Callable[..., object] | None = None) -> Opening:
    """Open the report offline and return the observations; `look` is called with the tab at the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    context.set_default_timeout(300_000)
    page = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri(), wait_until="commit")
    opened = page.evaluate(OPENED)
    drawn = page.evaluate(DRAWN)
    figures = page.locator(".plot").count()
    missing = page.locator(".plot:not(:has(.main-svg))").count()
    if look:
        look(page)
    context.close()
    foreign = tuple(url for url in requests if url != report.as_uri() and not url.startswith(("data:", "blob:")))
    return Opening(opened / 1000, drawn / 1000, figures, missing, foreign, tuple(complaints))


def main() -> int:
    """Write the report, open it several times and print the results; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri", help="tracking database or server")
    parser.add_argument("--experiments", default="frm", help="experiments to report on, separated by commas")
    parser.add_argument("--openings", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep the report here")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless every promise is kept")
    add_option(parser)
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        report = (arguments.keep or Path(scratch) / "report.html").absolute()
        start = time.perf_counter()
        cli.run_with_hydra(
            "report",
            [
                f"tracking.uri={arguments.uri}",
                f"experiments=[{arguments.experiments}]",
                f"output={report}",
                "log=false",
            ],
        )
        written_s = time.perf_counter() - start
        with running_browser() as browser:
            openings = [open_once(browser, report) for _ in range(arguments.openings)]
        size_mb = report.stat().st_size / 1e6
    opened_s = statistics.median(each.open_s for each in openings)
    first = openings[0]
    print(f"written in {written_s:.1f} s")
    print(f"all {first.figures} figures drawn after {statistics.median(each.drawn_s for each in openings):.2f} s")
    kept = {
        f"size: {size_mb:.2f} MB (at most {LARGEST_MB:g})": size_mb <= LARGEST_MB,
        f"opens in {opened_s:.2f} s, median of {len(openings)} (at most {OPEN_S:g})": opened_s <= OPEN_S,
        f"figures not drawn: {first.not_drawn}": all(each.not_drawn == 0 for each in openings),
        f"requests: {len(first.requests)}": not any(each.requests for each in openings),
        f"complaints: {'; '.join(first.complaints) or 'none'}": not any(each.complaints for each in openings),
    }
    for sentence, ok in kept.items():
        print(sentence, "ok" if ok else "NOT KEPT")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(each) for each in openings], indent=2))
    return 0 if all(kept.values()) or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
