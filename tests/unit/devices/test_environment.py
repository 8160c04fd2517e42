from __future__ import annotations

import json
import subprocess
from pathlib import Path

from frm_mlflow.devices import Device, conditions, environment, probe
from frm_mlflow.devices.environment import git_state

CPU = Device("cpu", "cpu", "cpu", "a chip", "cpu")


def test_the_environment_is_json_and_names_device_and_libraries():
    found = json.loads(json.dumps(environment(CPU, probe())))
    assert found["device"]["name"] == "cpu"
    assert "numpy" in found["libraries"]
    assert found["hardware"]["cpu"]


def test_conditions_are_numbers_and_none_is_invented():
    found = conditions(CPU)
    assert all(isinstance(value, float) for value in found.values())
    assert not any(name.startswith("gpu") for name in found)


def test_git_tells_commit_and_changes(tmp_path: Path):
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_state(tmp_path) == {}
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path)["dirty"] is True
