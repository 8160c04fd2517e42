from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.mlflow_server import running_server
from tests.basic_auth import Accounts, guarded_server


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test stores results in the developer's data folder, sends results from there, or waits for a device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("FRM_MLFLOW_LOCKS", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real `mlflow server` on SQLite; use a separate experiment name in each test."""
    with running_server(tmp_path_factory.mktemp("mlflow_server")) as uri:
        yield uri


@pytest.fixture(scope="session")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    """MLflow's basic-auth server with the /frm page, and its users; use a separate experiment name in each test."""
    with guarded_server(tmp_path_factory.mktemp("basic_auth")) as accounts:
        yield accounts
