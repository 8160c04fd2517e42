"""`frm-mlflow device` on a server on loopback."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from frm_mlflow import cli
from tests.fleet.sshd import Sshd, overrides


def test_probing_tells_what_the_device_is_and_pruning_makes_room(
    sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reach = ["device=cpu", *overrides(sshd.device(python=sys.executable, folder=tmp_path / "device"))]
    assert cli.dispatch(["device", "probe", *reach, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"]["name"] == "cpu"
    assert found["transport"]["node"] == os.uname().nodename
    assert cli.dispatch(["device", "probe", *reach]) == 0
    assert capsys.readouterr().out.startswith("device=cpu, tier cpu: ")
    old = tmp_path / "device" / "worker-0000000000000000.pyz"
    old.write_bytes(bytes(1000))
    os.utime(old, (0, 0))
    assert cli.dispatch(["device", "prune", *reach]) == 0
    assert capsys.readouterr().out == "removed 1, 1.0 kB\n"
    assert not old.exists()
