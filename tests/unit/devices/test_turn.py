"""One process at a time measures on a device; the others wait, and report which process they wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frm_mlflow.devices.turn import turn_of
from frm_mlflow.errors import DeviceBusyError
from frm_mlflow.worker.turns import FOLDER_VARIABLE, Turn, lock_file, take

HOLD = """
import sys
from frm_mlflow.worker.turns import take
turn = take("cpu", "the other sweep")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def other() -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_free_device_is_taken_and_given_back() -> None:
    for _ in range(2):
        with turn_of(take, "cpu", holder="a", wait_s=0, tell=pytest.fail):
            assert take("cpu", "b").startswith("a, process ")
            another = take("gpu-0", "b")
            assert isinstance(another, Turn), "another device is free"
            another.end()


def test_a_busy_device_is_refused_with_its_holder_and_setting(other: subprocess.Popen[bytes]) -> None:
    told: list[str] = []
    with (
        pytest.raises(DeviceBusyError, match=r"device\.wait_s=0 s: the other sweep"),
        turn_of(take, "cpu", holder="a", wait_s=0, tell=told.append),
    ):
        pytest.fail("measured beside another")
    assert len(told) == 1
    assert "the other sweep" in told[0]


def test_a_device_is_free_once_its_holder_was_killed(other: subprocess.Popen[bytes]) -> None:
    with turn_of(take, "cpu", holder="a", wait_s=60, tell=lambda _: other.kill()):
        assert other.wait(10) != 0


def test_no_link_is_followed_to_a_lock(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    lock_file("cpu").symlink_to(victim)
    told: list[str] = []
    with turn_of(take, "cpu", holder="a", wait_s=0, tell=told.append):
        assert victim.read_text() == "mine"
    assert "no lock can be made" in told[0]
