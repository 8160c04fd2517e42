"""One OpenSSH connection to a host; every failure of it becomes a typed error with a remedy.

The user's `ssh` does the work, with the user's configuration and keys. A first process opens the
connection and keeps it open; later commands share it (ControlMaster). All of them end with
this process: their standard input is a pipe from it.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from frm_mlflow.config import DeviceConfig
from frm_mlflow.errors import (
    ConfigError,
    DeviceOfflineError,
    DeviceSetupError,
    DeviceUnauthorizedError,
    HostKeyError,
    TransportError,
    TransportLostError,
)

SSH_FAILED = 255
"""Exit code of `ssh` for its own failures; any other code is the remote program's."""
NOT_FOUND = 127
ATTEMPTS = 3
"""Number of attempts for steps that measure nothing: connecting, querying, copying."""

_READY = "frm-ready"
_PAUSE_S = 1.0
_END_S = 5.0
_LAST_LINES = 20

_OFFLINE = (
    "could not resolve hostname|connection refused|timed out|no route to host|network is unreachable|"
    "host is down|connection reset by peer|connection closed by|kex_exchange_identification|banner exchange"
)
ResultT = TypeVar("ResultT")


def ssh_error(host: str, output: str) -> TransportError:
    """Return the error for the output of a failed `ssh` command."""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no reason given")
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in output:
        return HostKeyError(
            f"The host key of {host} has changed. Either the host was reinstalled or the connection is being "
            "intercepted. Compare the fingerprint with the one on the host. Only if they match, remove the old key "
            f"(`ssh-keygen -R`) and connect once manually.\n{_offending(output)}"
        )
    if "Host key verification failed" in output or "host key is known for" in output:
        return HostKeyError(
            f"The host key of {host} is not in your known hosts: connect once manually (`ssh {host}`), compare the "
            "fingerprint with the one on the host and accept it, or set device.known_hosts=FILE."
        )
    if "Permission denied" in output or "Too many authentication failures" in output:
        return DeviceUnauthorizedError(
            f"{host} denies access ({last}): passwords cannot be entered here, so install a key "
            f"(`ssh-copy-id {host}`), or name one: 'device.ssh_options={{IdentityFile: PATH}}'."
        )
    if re.search(_OFFLINE, output, re.IGNORECASE):
        return DeviceOfflineError(
            f"{host} cannot be reached ({last}): check that it is switched on and that device.host is right."
        )
    if "Bad configuration option" in output or "command-line: line" in output:
        return DeviceSetupError(f"ssh rejects device.ssh_options ({last}).")
    return TransportLostError(f"The connection to {host} was lost ({last}); the measurement over it was discarded.")


def tried(step: Callable[[], ResultT], *, sleep: Callable[[float], None] = time.sleep) -> ResultT:
    """Return what `step` returns, and retry it if the connection failed. For steps that measure nothing."""
    for attempt in range(1, ATTEMPTS):
        try:
            return step()
        except (TransportLostError, DeviceOfflineError):
            sleep(_PAUSE_S * attempt)
    return step()


class SshConnection:
    """A persistent connection to a device's host."""

    def __init__(self, config: DeviceConfig) -> None:
        ssh = shutil.which("ssh")
        if ssh is None:
            raise ConfigError("device.transport=ssh needs OpenSSH's client `ssh`: install openssh-client.")
        self.host = str(config.host)
        self._config = config
        # The socket has no folder of its own: the master removes it even if this process is killed.
        self._socket = Path(tempfile.gettempdir()) / f"frm-{secrets.token_hex(6)}"
        self._base = [ssh, *_options(config), "-o", f"ControlPath={self._socket}"]
        self._master = tried(self._opened)

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the local command line that runs `words` on the host."""
        return [*self._base, "-o", "ControlMaster=no", "-T", "--", self.host, shlex.join(words)]

    def run(self, words: Sequence[str], *, timeout_s: float, content: bytes = b"") -> bytes:
        """Run `words` on the host with `content` as their input and return what they print.

        Raises
        ------
        TransportError
            If the connection or the program fails, or it takes longer than `timeout_s`.
        """
        try:
            done = subprocess.run(
                self.command(words), input=content, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TransportLostError(f"{self.host} did not respond to '{words[0]}' within {timeout_s:g} s.") from error
        self.check(done.returncode, done.stderr.decode(errors="replace"), words)
        return done.stdout

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start `words` on the host with pipes."""
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(self.command(words), start_new_session=True, **pipes)

    def check(self, code: int, output: str, words: Sequence[str]) -> None:
        """Raise the error for a failing exit code of `ssh`."""
        if code == SSH_FAILED:
            raise ssh_error(self.host, output)
        if code == NOT_FOUND:
            raise DeviceSetupError(f"{self.host} has no program '{words[0]}': set device.python.\n{output.strip()}")
        if code:
            raise DeviceSetupError(f"{self.host}: '{words[0]}' ended with exit code {code}.\n{output.strip()}")

    def close(self) -> None:
        """End the connection and everything that still runs over it."""
        _end(self._master)
        self._socket.unlink(missing_ok=True)  # a master that was killed leaves it behind

    def _opened(self) -> subprocess.Popen[bytes]:
        """Start the process that holds the connection, and wait until it is established."""
        far = f"echo {_READY}; exec cat"
        command = [*self._base, "-o", "ControlMaster=yes", "-T", "--", self.host, far]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        master = subprocess.Popen(command, start_new_session=True, **pipes)
        output: deque[str] = deque(maxlen=_LAST_LINES)
        listener = threading.Thread(target=_listen, args=(master.stderr, output), daemon=True)
        listener.start()
        watchdog = threading.Timer(self._config.connect_timeout_s * 2, master.kill)
        watchdog.start()
        ready = any(line.strip() == _READY.encode() for line in iter(master.stdout.readline, b""))  # type: ignore[union-attr]
        watchdog.cancel()
        if ready:
            return master
        code = master.wait()
        listener.join(_END_S)
        _end(master)
        if code < 0:
            raise DeviceOfflineError(f"{self.host} did not complete the connection in time: it may be overloaded.")
        raise ssh_error(self.host, "\n".join(output))


def _options(config: DeviceConfig) -> list[str]:
    settings = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ControlPersist": "no",
        "ConnectTimeout": str(max(1, round(config.connect_timeout_s))),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ForwardX11": "no",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
    }
    if config.known_hosts:
        settings["UserKnownHostsFile"] = f'"{Path(config.known_hosts).expanduser().absolute()}"'
        settings["GlobalKnownHostsFile"] = "none"
    words = [f"{name}={value}" for name, value in (settings | (config.ssh_options or {})).items()]
    port = [] if config.port is None else ["-p", str(config.port)]
    return port + [part for word in words for part in ("-o", word)]


def _offending(output: str) -> str:
    lines = [line.strip() for line in output.splitlines()]
    return "\n".join(line for line in lines if "SHA256:" in line or line.startswith(("Offending", "ssh-keygen")))


def _listen(pipe: IO[bytes], output: deque[str]) -> None:
    with suppress(ValueError):  # closed by the other thread: the same as end of file
        for line in pipe:
            output.append(line.decode(errors="replace").rstrip())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End one of our processes by closing its input, else by a signal; reap it and close its pipes."""
    with suppress(BrokenPipeError):
        process.stdin.close()  # type: ignore[union-attr]
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
