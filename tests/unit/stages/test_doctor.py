from __future__ import annotations

from pathlib import Path

import pytest

from frm_mlflow.stages import doctor
from frm_mlflow.tracking import server


def test_looking_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    found = {row["subject"]: row for row in doctor.examine()["tracking"]}
    assert str(tmp_path / "mlflow.db") in found["server"]["found"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "postgresql://user@host/name", "sqlite://"])
def test_only_a_file_can_be_missing(uri: str):
    assert server.database_to_make(uri) is None


def test_an_existing_file_is_not_missing(tmp_path: Path):
    database = tmp_path / "mlflow.db"
    database.touch()
    assert server.database_to_make(f"sqlite:///{database}") is None
