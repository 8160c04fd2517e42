from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from frm_mlflow.runners import doctor
from frm_mlflow.tracking import server


@pytest.fixture
def unmade(tmp_path: Path) -> Iterator[Path]:
    """Return a database that is MLflow's tracking store and does not exist."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield tmp_path / "mlflow.db"
    mlflow.set_tracking_uri(before)


def test_looking_makes_no_database(unmade: Path):
    found = {row["subject"]: row for row in doctor.examine()["tracking"]}
    assert str(unmade) in found["server"]["found"]
    assert list(unmade.parent.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "postgresql://user@host/name", "sqlite://"])
def test_only_a_file_can_be_missing(uri: str):
    assert server.database_to_make(uri) is None


def test_an_existing_file_is_not_missing(tmp_path: Path):
    database = tmp_path / "mlflow.db"
    database.touch()
    assert server.database_to_make(f"sqlite:///{database}") is None
