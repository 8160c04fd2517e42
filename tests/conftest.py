from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.mlflow_server import running_server


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real `mlflow server` on SQLite; use an experiment of your own name in each test."""
    with running_server(tmp_path_factory.mktemp("mlflow_server")) as uri:
        yield uri
