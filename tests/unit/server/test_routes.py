"""The routes on a small stand-in for MLflow, with the two calls that return what a user may read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
from flask import Flask, jsonify, request
from flask.testing import FlaskClient

from frm_mlflow.errors import TrackingError
from frm_mlflow.server.routes import blueprint, paths
from frm_mlflow.server.store import Store

EXPERIMENTS = {"7": "phones", "8": "secret"}
READABLE = {"alice": {"7", "8"}, "bob": {"7"}}


def mlflow_with_page(store: Store) -> Flask:
    app = Flask("mlflow")

    def readable() -> set[str]:
        return READABLE[request.authorization.username] if request.authorization else set()

    @app.get("/ajax-api/2.0/mlflow/experiments/search")
    def search() -> object:
        own = sorted(readable())
        start = int(request.args.get("page_token", 0))
        page = [{"experiment_id": each, "name": EXPERIMENTS[each]} for each in own[start : start + 1]]
        return jsonify({"experiments": page} | ({"next_page_token": str(start + 1)} if start + 1 < len(own) else {}))

    @app.get("/ajax-api/2.0/mlflow/experiments/get")
    def get() -> object:
        asked = request.args["experiment_id"]
        if asked not in EXPERIMENTS:
            return jsonify({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"No experiment {asked}"}), 404
        if asked not in readable():
            return "Permission denied", 403
        return jsonify({"experiment": {"experiment_id": asked, "name": EXPERIMENTS[asked]}})

    app.register_blueprint(blueprint(store))
    return app


@pytest.fixture
def read_names() -> list[tuple[str, ...]]:
    return []


@pytest.fixture
def client(two_devices: pd.DataFrame, read_names: list[tuple[str, ...]]) -> Iterator[FlaskClient]:
    def read(experiments: tuple[str, ...], *, on_progress: Callable[[int], None]) -> tuple[pd.DataFrame, str]:
        on_progress(0)
        read_names.append(experiments)
        return two_devices, "digest"

    with mlflow_with_page(Store(read, patience_s=30)).test_client() as client:
        yield client


def as_user(name: str) -> dict[str, tuple[str, str]]:
    return {"auth": (name, "password")}


def test_the_page_asks_nobody_else_and_says_so(client: FlaskClient) -> None:
    response = client.get("/frm")
    assert response.status_code == 200
    assert "//" not in response.text.replace("</", "")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_every_asset_that_the_page_names_is_served_and_cached(client: FlaskClient) -> None:
    for address in re.findall(r'(?:src|href)="(frm/[^"]+)"', client.get("/frm").text):
        response = client.get(f"/{address}")
        assert response.status_code == 200, address
        assert client.get(f"/{address}", headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_a_slash_too_many_finds_the_page(client: FlaskClient) -> None:
    response = client.get("/frm/")
    # Relative, so that the links also work behind a proxy that strips a path prefix.
    assert (response.status_code, response.headers["Location"]) == (308, "../frm")


def test_experiments_are_those_that_mlflow_lets_this_user_read(client: FlaskClient) -> None:
    def names(user: str) -> list[str]:
        answer = client.get("/frm/api/experiments", **as_user(user)).get_json()
        return [item["name"] for item in answer["experiments"]]

    assert names("alice") == ["phones", "secret"]
    assert names("bob") == ["phones"]


def test_data_of_an_experiment_are_refused_as_mlflow_refuses_them(
    client: FlaskClient, read_names: list[tuple[str, ...]]
) -> None:
    allowed = client.get("/frm/api/view?experiment=7&device=Phone", **as_user("bob"))
    assert allowed.get_json()["shown"]["columns"]["model"] == ["large", "poor", "resnet50", "tiny"]
    for address in (
        "view?experiment=8",
        "view?experiment=7&experiment=8",
        "compare?experiment=8&configuration=a&other=b",
    ):
        refused = client.get(f"/frm/api/{address}", **as_user("bob"))
        assert (refused.status_code, refused.get_json()) == (403, {"error": "Permission denied"})
    assert read_names == [("7",)]


def test_a_deleted_experiment_is_said_to_be_gone(client: FlaskClient) -> None:
    response = client.get("/frm/api/view?experiment=99", **as_user("alice"))
    assert (response.status_code, response.get_json()["error"]) == (404, "No experiment 99")


@pytest.mark.parametrize(
    "query", ["", "?experiment=7&metric=speed", "?" + "&".join(f"experiment={i}" for i in range(51))]
)
def test_wrong_parameters_are_a_400_with_the_remedy(client: FlaskClient, query: str) -> None:
    response = client.get(f"/frm/api/view{query}", **as_user("alice"))
    assert response.status_code == 400
    assert "must be" in response.get_json()["error"]


def test_comparing_with_an_unknown_configuration_is_a_400(client: FlaskClient) -> None:
    response = client.get("/frm/api/compare?experiment=7&configuration=x&other=y", **as_user("alice"))
    assert response.status_code == 400


def test_comparing_two_devices(client: FlaskClient) -> None:
    shown = client.get("/frm/api/view?experiment=7", **as_user("alice")).get_json()
    first, second = (item["key"] for item in shown["configurations"])
    address = f"/frm/api/compare?experiment=7&configuration={first}&other={second}&metric=latency_ms"
    assert client.get(address, **as_user("alice")).get_json()["spearman"] == pytest.approx(-1)


def test_a_server_that_cannot_be_read_is_a_500_in_words() -> None:
    def read(experiments: tuple[str, ...], *, on_progress: Callable[[int], None]) -> tuple[pd.DataFrame, str]:
        raise TrackingError("the database is away: start it")

    client = mlflow_with_page(Store(read, patience_s=30)).test_client()
    response = client.get("/frm/api/view?experiment=7", **as_user("alice"))
    assert (response.status_code, response.get_json()["error"]) == (500, "the database is away: start it")


def test_no_path_of_the_page_has_a_variable_part(client: FlaskClient) -> None:
    found = list(paths(client.application))
    assert "/frm" in found
    assert not any("<" in path for path in found)
