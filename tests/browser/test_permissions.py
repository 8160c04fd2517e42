"""The page on MLflow's basic-auth server: who may not read an experiment sees nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from benchmarks.mlflow_server import running_server
from tests.browser.conftest import PATIENCE_MS, Tab
from tests.browser.fleet import log_fleet

pytest.importorskip("flask_wtf", reason="MLflow's basic-auth server needs flask-wtf")
expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=PATIENCE_MS)

PASSWORD = "long enough 5678"
OPEN, SECRET = "open", "secret <i>plans</i>"


@dataclass(frozen=True)
class Guarded:
    """A basic-auth server below a path prefix, with an experiment that `reader` may read and a secret one."""

    uri: str
    page: str
    open_id: str
    secret_id: str


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    from mlflow import MlflowClient
    from mlflow.server.auth.client import AuthServiceClient

    folder = tmp_path_factory.mktemp("guarded")
    settings = folder / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{folder}/auth.db\nadmin_username = admin\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"
    )
    environ = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "test",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    database = f"sqlite:///{folder}/mlflow.db"
    for name in (OPEN, SECRET):
        log_fleet(database, experiment=name)
    client = MlflowClient(database)
    ids = [client.get_experiment_by_name(name).experiment_id for name in (OPEN, SECRET)]
    options = ("--app-name", "frm-basic-auth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        with running_server(folder / "server", backend=database, options=options, environ=environ) as uri:
            users = AuthServiceClient(uri)
            users.create_user("reader", PASSWORD)
            users.grant_user_permission("reader", "experiment", ids[0], "READ")
            yield Guarded(uri=uri, page=f"{uri}/frm", open_id=ids[0], secret_id=ids[1])


def ask(guarded: Guarded, path: str, user: str | None) -> tuple[int, str]:
    answer = requests.get(f"{guarded.uri}{path}", auth=(user, PASSWORD) if user else None, timeout=120)
    return answer.status_code, answer.text


def test_who_has_not_logged_in_gets_nothing(guarded: Guarded) -> None:
    for path in ("/frm", "/frm/static/main.js", "/frm/api/experiments", f"/frm/api/view?experiment={guarded.open_id}"):
        assert ask(guarded, path, None)[0] == 401, path


def test_a_reader_gets_only_what_he_may_read(guarded: Guarded) -> None:
    status, text = ask(guarded, "/frm/api/experiments", "reader")
    assert (status, [each["name"] for each in json.loads(text)["experiments"]]) == (200, ["open"])
    for query in (
        f"view?experiment={guarded.secret_id}",
        f"view?experiment={guarded.open_id}&experiment={guarded.secret_id}",
        f"compare?experiment={guarded.secret_id}&configuration=a&other=b",
        f"recommend?experiment={guarded.secret_id}&max_latency_ms=1",
    ):
        status, text = ask(guarded, f"/frm/api/{query}", "reader")
        assert (status, "resnet50" in text) == (403, False), query
    status, text = ask(guarded, f"/frm/api/view?experiment={guarded.secret_id}", "admin")
    assert status in (200, 202)


def test_what_is_cached_for_one_user_is_not_shown_to_another(guarded: Guarded) -> None:
    both = f"/frm/api/view?experiment={guarded.open_id}&experiment={guarded.secret_id}"
    assert ask(guarded, both, "admin")[0] in (200, 202)
    assert ask(guarded, both, "reader")[0] == 403


def test_a_reader_sees_nothing_of_the_secret_on_the_page(
    guarded: Guarded, open_tab: Callable[..., Tab], screenshots: Path
) -> None:
    tab = open_tab(http_credentials={"username": "reader", "password": PASSWORD})
    tab.page.goto(guarded.page)
    expect(tab.page.locator("#frontier-title")).to_be_visible()
    expect(tab.page.locator("#experiment-names")).to_have_text("open")
    assert "secret" not in tab.page.content()
    tab.page.screenshot(path=screenshots / "page-reader.png")
    assert tab.seen.complaints == []

    tab.page.goto(f"{guarded.page}?experiment={guarded.secret_id}")
    expect(tab.page.locator("#message.problem")).to_contain_text("may not read")
    assert "swin_t" not in tab.page.content()
