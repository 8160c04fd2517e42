"""Debian's chromium against real servers, with everything that a browser complains about collected."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.mlflow_server import running_server
from tests.browser.fleet import log_fleet

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000
"""A busy machine may take long; no test depends on how long."""


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Seen:
    """What a page did that it must not do."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self, page: object) -> None:
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"a dialog opened: {dialog.message}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))


@dataclass
class Tab:
    """A browser page with what it did."""

    page: object
    seen: Seen


@pytest.fixture
def open_tab(browser: object) -> Iterator[Callable[..., Tab]]:
    contexts = []

    def open_(**options: object) -> Tab:
        context = browser.new_context(viewport={"width": 1380, "height": 900}, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        tab = Tab(page=context.new_page(), seen=Seen())
        tab.seen.watch(tab.page)
        return tab

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: `FRM_MLFLOW_SCREENSHOTS` (CI keeps it), else a temporary folder."""
    folder = Path(os.environ.get("FRM_MLFLOW_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def frm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of `mlflow server --app-name frm` that holds measured and imported runs, and an empty experiment."""
    folder = tmp_path_factory.mktemp("frm_server")
    environ = {"XDG_CACHE_HOME": str(folder / "cache")}
    with running_server(folder, options=("--app-name", "frm"), environ=environ) as uri:
        log_fleet(uri)
        yield uri
