from __future__ import annotations

import os

import pytest

POSTGRES_VARIABLE = "FRM_MLFLOW_TEST_POSTGRES"
"""Variable with the URI of an empty PostgreSQL database for tests; without it, PostgreSQL tests are skipped."""


@pytest.fixture(autouse=True)
def no_ambient_tracking(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the shell's MLflow settings, and the home directory's cache and spool, out of the tests."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    """An experiment name that is unique to one test."""
    return f"{request.module.__name__}.{request.node.name}"


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a tracking database without a server."""
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/mlflow.db"


@pytest.fixture(scope="session")
def postgres() -> str:
    """The URI of a PostgreSQL database, if there is one for tests."""
    uri = os.environ.get(POSTGRES_VARIABLE)
    if not uri:
        pytest.skip(f"{POSTGRES_VARIABLE} names no database")
    return uri
