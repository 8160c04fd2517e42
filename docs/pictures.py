"""Draw the README's pictures from real runs: `python docs/pictures.py sqlite:///mlflow.db` after `make demo`.

Writes `docs/images/`: the terminal's leaderboard (SVG), the accuracy-FRM plot (PNG) and the /frm page (PNG, through a
real server and chromium).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console

from frm_mlflow.report import leaderboard
from frm_mlflow.report.figures import write_png
from frm_mlflow.tracking import server
from frm_mlflow.tracking.query import benchmarks

IMAGES = Path(__file__).parent / "images"
PORT = 5991
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def draw_leaderboard(uri: str, experiment: str) -> None:
    """Draw what the terminal shows, and the accuracy-FRM plot."""
    board = leaderboard.leaderboard(benchmarks(server.connect(uri), [experiment], cached=False).frame)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=96, file=nowhere)
        console.print(leaderboard.terminal_table(board))
    console.save_svg(str(IMAGES / "leaderboard.svg"), title="frm-mlflow bench")
    write_png({IMAGES / "accuracy_frm.png": leaderboard.accuracy_frm_figure(board)})


def draw_page(uri: str) -> None:
    """Draw the /frm page as a browser shows it; it opens the experiment `frm`."""
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "frm", "--workers", "1"]
    command += ["--backend-store-uri", uri, "--port", str(PORT)]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(f"http://127.0.0.1:{PORT}/health")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(f"http://127.0.0.1:{PORT}/frm")
                page.wait_for_selector(".main-svg", timeout=60_000)
                page.wait_for_timeout(1500)
                page.screenshot(path=str(IMAGES / "page.png"))
                browser.close()
        finally:
            process.terminate()


def _wait(url: str, *, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 -- our own server on loopback
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    store, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "frm"
    draw_leaderboard(store, name)
    draw_page(store)
