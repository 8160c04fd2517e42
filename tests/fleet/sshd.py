"""A real OpenSSH server on loopback, with its own host key, user key and authorized_keys."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_START_S = 20.0


@dataclass(frozen=True)
class Sshd:
    """A running server and what a client needs for it."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> Path:
        """A file with this server's host key."""
        return self.folder / "known_hosts"

    @property
    def identity(self) -> Path:
        """A private key that it accepts."""
        return self.folder / "identity"

    def device(self, **settings: object) -> dict[str, object]:
        """Return the `device.*` settings that reach it."""
        own = {"transport": "ssh", "host": "127.0.0.1", "port": self.port, "known_hosts": str(self.known_hosts)}
        return own | {"ssh_options": {"IdentityFile": str(self.identity), "IdentitiesOnly": "yes"}} | settings

    def sessions(self) -> list[psutil.Process]:
        """Return the server's processes that serve a connection."""
        return psutil.Process(self.process.pid).children()

    def cut(self) -> None:
        """Cut every connection, like a pulled cable does for both ends."""
        for session in self.sessions():
            session.kill()


def overrides(settings: dict[str, object]) -> list[str]:
    """Return `device.*` settings as command-line overrides."""

    def written(value: object) -> str:
        return "{" + ",".join(f"{k}:'{v}'" for k, v in value.items()) + "}" if isinstance(value, dict) else str(value)

    return [f"device.{name}={written(value)}" for name, value in settings.items()]


def key(path: Path) -> str:
    """Create a key pair and return the public key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text()


@contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Run a server in `folder` until the block ends."""
    host_key = key(folder / "host_key")
    (folder / "authorized_keys").write_text(key(folder / "identity"))
    port = _free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [str(SSHD), "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
    server = Sshd(port, folder, subprocess.Popen(command))
    try:
        _wait_until_it_listens(port, folder / "log")
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_until_it_listens(port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(log.read_text() if log.exists() else "sshd did not start")
