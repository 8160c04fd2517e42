"""The page on MLflow's basic-auth server: users without read permission see nothing of an experiment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from tests.basic_auth import PASSWORD, Accounts
from tests.browser.conftest import PATIENCE_MS, Tab
from tests.browser.fleet import log_fleet

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=PATIENCE_MS)

READER = "page-reader"
OPEN, SECRET = "open", "secret <i>plans</i>"


@dataclass(frozen=True)
class Guarded:
    """A basic-auth server below a path prefix, with one experiment that `reader` may read and one secret experiment."""

    uri: str
    page: str
    open_id: str
    secret_id: str


@pytest.fixture(scope="module")
def guarded(accounts: Accounts) -> Guarded:
    for name in (OPEN, SECRET):
        log_fleet(accounts.database, experiment=name)
    client = MlflowClient(accounts.database)
    ids = [client.get_experiment_by_name(name).experiment_id for name in (OPEN, SECRET)]
    accounts.add(READER)
    accounts.grant(READER, "experiment", ids[0])
    return Guarded(uri=accounts.uri, page=f"{accounts.uri}/frm", open_id=ids[0], secret_id=ids[1])


def ask(guarded: Guarded, path: str, user: str | None) -> tuple[int, str]:
    answer = requests.get(f"{guarded.uri}{path}", auth=(user, PASSWORD) if user else None, timeout=120)
    return answer.status_code, answer.text


def test_who_has_not_logged_in_gets_nothing(guarded: Guarded) -> None:
    for path in ("/frm", "/frm/static/main.js", "/frm/api/experiments", f"/frm/api/view?experiment={guarded.open_id}"):
        assert ask(guarded, path, None)[0] == 401, path


def test_a_reader_gets_only_what_he_may_read(guarded: Guarded) -> None:
    status, text = ask(guarded, "/frm/api/experiments", READER)
    assert (status, [each["name"] for each in json.loads(text)["experiments"]]) == (200, ["open"])
    for query in (
        f"view?experiment={guarded.secret_id}",
        f"view?experiment={guarded.open_id}&experiment={guarded.secret_id}",
        f"compare?experiment={guarded.secret_id}&configuration=a&other=b",
        f"recommend?experiment={guarded.secret_id}&max_latency_ms=1",
    ):
        status, text = ask(guarded, f"/frm/api/{query}", READER)
        assert (status, "resnet50" in text) == (403, False), query
    status, text = ask(guarded, f"/frm/api/view?experiment={guarded.secret_id}", "admin")
    assert status in (200, 202)


def test_what_is_cached_for_one_user_is_not_shown_to_another(guarded: Guarded) -> None:
    both = f"/frm/api/view?experiment={guarded.open_id}&experiment={guarded.secret_id}"
    assert ask(guarded, both, "admin")[0] in (200, 202)
    assert ask(guarded, both, READER)[0] == 403


def test_a_reader_sees_nothing_of_the_secret_on_the_page(
    guarded: Guarded, open_tab: Callable[..., Tab], screenshots: Path
) -> None:
    tab = open_tab(http_credentials={"username": READER, "password": PASSWORD})
    tab.page.goto(guarded.page)
    expect(tab.page.locator("#frontier-title")).to_be_visible()
    expect(tab.page.locator("#experiment-names")).to_have_text("open")
    assert "secret" not in tab.page.content()
    tab.page.screenshot(path=screenshots / "page-reader.png")
    assert tab.seen.complaints == []

    tab.page.goto(f"{guarded.page}?experiment={guarded.secret_id}")
    expect(tab.page.locator("#message.problem")).to_contain_text("may not read")
    assert "swin_t" not in tab.page.content()
