"""Debian's chromium against real servers; everything that the browser complains about is collected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.mlflow_server import running_server
from tests.browser.fleet import log_fleet, log_odd_experiments

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
from benchmarks import chromium

KEPT = Path(__file__).resolve().parents[2] / "build" / "screenshots"
"""Where screenshots are kept unless `FRM_MLFLOW_SCREENSHOTS` names another folder; git ignores it."""

PATIENCE_MS = 60_000
"""Generous, since a busy machine may be slow; no test depends on the time taken."""


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if chromium.executable() is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    with chromium.running_browser() as browser:
        yield browser


@dataclass
class Seen:
    """Forbidden actions of a page."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self, page: object) -> None:
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"a dialog opened: {dialog.message}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))


@dataclass
class Tab:
    """A browser page and its forbidden actions."""

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
def screenshots() -> Path:
    """The folder that CI keeps, so that the browser's output can be inspected afterwards."""
    folder = Path(os.environ.get("FRM_MLFLOW_SCREENSHOTS") or KEPT)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def frm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of `mlflow server --app-name frm` that holds measured and imported runs, and odd experiments.

    The odd experiments are an empty one, one with a single device, one with a single model, one with 3,000
    models, and one with 40 devices.
    """
    folder = tmp_path_factory.mktemp("frm_server")
    database = f"sqlite:///{folder}/mlflow.db"
    log_fleet(database)
    log_odd_experiments(database)
    environ = {"XDG_CACHE_HOME": str(folder / "cache")}
    with running_server(folder, options=("--app-name", "frm"), environ=environ) as uri:
        yield uri
