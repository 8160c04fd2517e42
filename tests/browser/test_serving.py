"""The page below a path prefix, and under the host checks of MLflow's server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from benchmarks.mlflow_server import free_port, start_server, stop_server
from tests.browser.conftest import PATIENCE_MS, Tab
from tests.browser.fleet import log_fleet

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def prefixed(tmp_path: Path) -> Iterator[str]:
    """The URI of a server below `/ml`."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}/ml"
    options = ("--app-name", "frm", "--static-prefix", "/ml")
    process = start_server(tmp_path, port=port, options=options, environ={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    try:
        for _ in range(600):
            if process.poll() is None and _answers(f"{uri}/health"):
                break
            time.sleep(0.2)
        yield uri
    finally:
        stop_server(process)


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False


def test_an_empty_server_then_a_path_prefix_and_foreign_hosts(
    prefixed: str, open_tab: Callable[..., Tab], screenshots: Path
) -> None:
    tab = open_tab()
    for view in ("frontier", "compare", "recommend"):
        tab.page.goto(f"{prefixed}/frm?view={view}")
        expect(tab.page.locator("#message")).to_contain_text("no finished benchmark yet")
    tab.page.screenshot(path=screenshots / "page-empty-server.png")
    assert tab.seen.complaints == []
    client = MlflowClient(prefixed)
    client.delete_experiment(client.get_experiment_by_name("Default").experiment_id)
    tab.page.reload()
    expect(tab.page.locator("#message")).to_contain_text("no experiment that you may read")
    log_fleet(prefixed)
    tab.page.goto(f"{prefixed}/frm/")
    expect(tab.page.locator("#frontier-title")).to_be_visible()
    assert tab.page.url == f"{prefixed}/frm"
    assert tab.page.get_by_role("link", name="MLflow", exact=True).evaluate("link => link.href") == f"{prefixed}/"
    assert tab.seen.complaints == []
    foreign = requests.get(f"{prefixed}/frm/api/experiments", headers={"Host": "evil.example"}, timeout=60)
    assert foreign.status_code == 403
