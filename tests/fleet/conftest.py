from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frm_mlflow.config import DeviceConfig
from tests.fleet.sshd import SSHD, Sshd, running_sshd


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real server on loopback."""
    if SSHD is None:
        pytest.skip("needs an OpenSSH server: apt-get install openssh-server")
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def device_folder(tmp_path: Path) -> Path:
    """The folder on the device for one test."""
    return tmp_path / "device"


@pytest.fixture
def over_ssh(sshd: Sshd, device_folder: Path) -> Callable[..., DeviceConfig]:
    """Settings for this machine's CPU, reached through the ssh server."""

    def config(**settings: object) -> DeviceConfig:
        own = {"name": "cpu", "tier": "cpu", "kind": "cpu", "python": sys.executable, "folder": str(device_folder)}
        return DeviceConfig(**(sshd.device() | own | settings))  # type: ignore[arg-type]

    return config
