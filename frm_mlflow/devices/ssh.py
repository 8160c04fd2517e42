"""The ssh transport: workers on another host, the models copied there once, and that host's hardware."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from frm_mlflow import redact
from frm_mlflow.config import DeviceConfig
from frm_mlflow.devices.archive import worker_archive
from frm_mlflow.devices.client import Launch, Worker, WorkerClient
from frm_mlflow.devices.environment import git_state
from frm_mlflow.devices.hardware import Hardware, hardware_of
from frm_mlflow.devices.local import worker_variables
from frm_mlflow.devices.replies import LONGEST_REPLY, ReplyError, checked, parsed
from frm_mlflow.devices.resolve import Device
from frm_mlflow.devices.ssh_connection import NOT_FOUND, SSH_FAILED, SshConnection, ssh_error, tried
from frm_mlflow.devices.turn import Tell, local_name, turn_of
from frm_mlflow.errors import (
    DeviceFullError,
    DeviceSetupError,
    TransportError,
    TransportLostError,
    WorkerError,
    WorkerVersionError,
)
from frm_mlflow.worker import PROTOCOL_VERSION, machine
from frm_mlflow.worker.store import content_key

DEFAULT_FOLDER = "~/.cache/frm-mlflow"
OLDEST_PYTHON = (3, 10)

_ASK_S = 60.0
_CHUNK = 2**20
_HELLO_S = 120.0
_INSTALL = """
import errno, hashlib, json, os, sys
folder, name, sha256 = os.path.abspath(os.path.expanduser(sys.argv[1])), sys.argv[2], sys.argv[3]
content = sys.stdin.buffer.read()
place = os.path.join(folder, name)
temporary = "%s.%d" % (place, os.getpid())
reply = {"ok": True, "place": place, "python": list(sys.version_info[:3]), "installed": False}
try:
    if not os.path.exists(place) or hashlib.sha256(open(place, "rb").read()).hexdigest() != sha256:
        if hashlib.sha256(content).hexdigest() != sha256:
            raise OSError(errno.EIO, "the received file differs from the one sent")
        os.makedirs(folder, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            os.rename(temporary, place)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
        reply["installed"] = True
except OSError as error:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reply = {"ok": False, "error": "%s: %s" % (folder, error), "kind": "disk_full" if full else "denied"}
print(json.dumps(reply))
"""
"""Runs in any Python 3 on a host: stores the complete worker file there, unless it is already present."""


class SshHost:
    """A host on which workers run over ssh; `hardware` is what the host reports."""

    def __init__(self, config: DeviceConfig) -> None:
        self._config = config
        self._folder = config.folder or DEFAULT_FOLDER
        self._connection = SshConnection(config)
        try:
            self._program = tried(self._install)
            self._facts = tried(lambda: self._ask("probe"))
            self._check_program()
        except BaseException:
            self.close()
            raise
        try:
            self.hardware: Hardware = hardware_of(self._facts["hardware"])
        except (TypeError, ValueError, KeyError) as error:
            self.close()
            raise DeviceSetupError(f"{self._connection.host} reports invalid facts about itself: {error}") from error

    def open_worker(
        self,
        name: str,
        *,
        threads: int,
        affinity: Sequence[int] | None = None,
        memory_limit_mib: float | None = None,
    ) -> Worker:
        """Start a worker on the host and check that it is the one that was sent."""
        words = ["env", *(f"{key}={value}" for key, value in worker_variables(threads).items())]
        words += [self._config.python, self._program, "supervise", "--folder", self._folder]
        words += ["--affinity", ",".join(map(str, affinity))] if affinity is not None else []
        words += ["--memory-limit-mib", str(memory_limit_mib)] if memory_limit_mib is not None else []
        launch = Launch(
            command=self._connection.command(words),
            environment=redact.snapshot(os.environ),
            where=self._connection.host,
            explain=self._why_it_ended,
        )
        worker = SshWorker(WorkerClient(launch, name=f"{name} on {self._connection.host}"), self)
        worker.check_version()
        return worker

    def conditions(self, device: Device) -> dict[str, float]:
        """Return what changes while that machine is running."""
        reply = tried(lambda: self._ask("conditions", "--kind", device.kind, "--index", str(device.index)))
        return dict(reply["conditions"])

    def environment(self, device: Device) -> dict[str, Any]:
        """Return everything about that machine that belongs in the run's artifact, and this machine's Git commit."""
        return {
            "device": asdict(device),
            "hardware": asdict(self.hardware),
            **self._facts["software"],
            "transport": {
                "kind": "ssh",
                "host": self._connection.host,
                "node": self._facts["host"],
                "worker": self._facts["sha256"],
            },
            "controller": machine.software() | {"git": git_state(Path.cwd())},
            "conditions": self.conditions(device),
        }

    def put(self, exported_model: Path) -> str:
        """Return the path of this exported model's content on the host; copy it unless it is already there.

        Raises
        ------
        DeviceFullError
            If the device has no free space; nothing is left there in that case.
        TransportError
            If the connection fails, also after retries.
        """
        key = content_key(exported_model)
        return tried(lambda: self._copied(exported_model, key))

    def send(self, content: bytes, path: str) -> None:
        """Write a file in the worker's scratch folder on the host."""
        sha256 = hashlib.sha256(content).hexdigest()
        tried(lambda: self._ask("take", "--path", path, "--sha256", sha256, content=content))

    def fetch(self, path: str) -> bytes:
        """Read a file from the worker's scratch folder on the host."""

        def step() -> bytes:
            answer = self._connection.run(self._words("give", "--path", path), timeout_s=self._config.copy_timeout_s)
            line, _, rest = answer.partition(b"\n")
            head = self._accepted(line, "give")
            content = rest[: head["bytes"]]
            if hashlib.sha256(content).hexdigest() != head["sha256"]:
                raise TransportLostError(f"{self._connection.host}: {path} was truncated during the transfer.")
            return content

        return tried(step)

    def turn(self, device: Device, *, holder: str, wait_s: float, tell: Tell) -> AbstractContextManager[None]:
        """Hold a device of that machine exclusively, even against processes on other controlling machines."""
        return turn_of(self._take_turn, local_name(device), holder=holder, wait_s=wait_s, tell=tell)

    def _take_turn(self, device: str, holder: str) -> _RemoteTurn | str:
        words = self._words("hold", "--device", device, "--holder", holder)
        process = self._connection.start(words)
        watchdog = threading.Timer(_ASK_S, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline(LONGEST_REPLY)  # type: ignore[union-attr]
            watchdog.cancel()
            reply = self._accepted(line, "hold")
        except BaseException:
            watchdog.cancel()
            _reap(process)
            raise
        if reply["held"]:
            return _RemoteTurn(process)
        _reap(process)
        return f"{reply['holder']}"

    def prune(self, *, older_than_s: float) -> tuple[list[str], int]:
        """Remove copies on the host that were not used for `older_than_s`; return their names and total bytes."""
        reply = self._ask("prune", "--older-than-s", str(older_than_s))
        return list(reply["removed"]), int(reply["bytes"])

    def close(self) -> None:
        """End the connection, and with it everything that still runs over it."""
        self._connection.close()

    def _install(self) -> str:
        archive = worker_archive()
        words = [self._config.python, "-c", _INSTALL, self._folder, archive.name, archive.sha256]
        answer = self._connection.run(words, timeout_s=self._config.copy_timeout_s, content=archive.content)
        reply = self._accepted(answer, "install")
        version = tuple(reply["python"])
        if version[:2] < OLDEST_PYTHON:
            raise DeviceSetupError(
                f"{self._connection.host}: '{self._config.python}' is Python {'.'.join(map(str, version))}, and the "
                f"worker needs {'.'.join(map(str, OLDEST_PYTHON))} or newer: set device.python."
            )
        return str(reply["place"])

    def _check_program(self) -> None:
        expected = {"protocol": PROTOCOL_VERSION, "sha256": worker_archive().sha256}
        different = [
            f"{key} {self._facts.get(key)}" for key, value in expected.items() if self._facts.get(key) != value
        ]
        if different:
            raise WorkerVersionError(
                f"{self._connection.host}: {self._program} is a different worker than this version's "
                f"({', '.join(different)}): remove it there, or choose another device.folder."
            )
        if not self._facts["has_numpy"]:
            raise DeviceSetupError(
                f"{self._connection.host}: '{self._config.python}' has no numpy: run "
                f"`{self._config.python} -m pip install numpy` there, and install the runtime."
            )

    def _copied(self, exported_model: Path, key: str) -> str:
        """Stream the exported model as tar to the program on the host, unless it replies that it has it."""
        words = self._words("receive", "--key", key)
        process = self._connection.start(words)
        watchdog = threading.Timer(self._config.copy_timeout_s, process.kill)
        watchdog.start()
        try:
            first = process.stdout.readline(LONGEST_REPLY)  # type: ignore[union-attr]
            here = self._place(first) if first else None
            if first and not here:
                _write(process.stdin, _tar(exported_model))  # type: ignore[arg-type]
                process.stdin = None
            rest, errors = process.communicate()
        finally:
            watchdog.cancel()
            _reap(process)
        if process.returncode < 0:
            raise TransportLostError(
                f"Copying {exported_model.name} to {self._connection.host} took longer than "
                f"{self._config.copy_timeout_s:g} s and was stopped: raise device.copy_timeout_s."
            )
        self._connection.check(process.returncode, errors.decode(errors="replace"), words)
        return str(here or self._accepted(rest, "receive")["place"])

    def _place(self, line: bytes) -> str | None:
        """Return the path of the host's existing copy; None if it has none and is waiting for one."""
        try:
            place = parsed(line).get("place")
        except ReplyError as error:
            raise self._garbage(line) from error
        return str(place) if place else None

    def _ask(self, command: str, *arguments: str, content: bytes = b"") -> dict[str, Any]:
        timeout_s = self._config.copy_timeout_s if content else _ASK_S
        answer = self._connection.run(self._words(command, *arguments), timeout_s=timeout_s, content=content)
        return self._accepted(answer, command)

    def _words(self, command: str, *arguments: str) -> list[str]:
        return [self._config.python, self._program, command, "--folder", self._folder, *arguments]

    def _accepted(self, answer: bytes, command: str) -> dict[str, Any]:
        try:
            reply = parsed(answer)
        except ReplyError as error:
            raise self._garbage(answer) from error
        if reply["ok"]:
            try:
                return checked(command, reply, {})
            except ReplyError as error:
                raise DeviceSetupError(f"{self._connection.host} {error} (at '{command}').") from error
        reason = str(reply.get("error", "no reason given"))[:2000]
        if reply.get("kind") == "disk_full":
            free_mib = reply.get("free_mib")
            free = f" ({free_mib:.0f} MiB are free)" if isinstance(free_mib, int | float) else ""
            raise DeviceFullError(
                f"{self._connection.host} is full: {reason}{free}. Free space, remove earlier copies "
                "(`frm-mlflow device prune`), or choose another device.folder."
            )
        if reply.get("kind") == "damaged":
            raise TransportLostError(f"{self._connection.host}: {reason}.")
        raise DeviceSetupError(f"{self._connection.host}: {reason}; choose another device.folder.")

    def _garbage(self, answer: bytes) -> TransportError:
        host, shown = self._connection.host, answer[:200].decode(errors="replace")
        if not answer.strip() or answer.startswith(b"{"):
            return TransportLostError(f"{host}: a reply was truncated: {shown!r}")
        return DeviceSetupError(
            f"{host} replied with garbage instead of JSON: {shown!r}. Its login shell must print nothing in "
            "non-interactive sessions: check its .bashrc."
        )

    def _why_it_ended(self, code: int, output: str) -> WorkerError | None:
        """Return the error if the connection ended rather than the worker, else None."""
        if code == SSH_FAILED:
            error: TransportError = ssh_error(self._connection.host, output)
            return error
        if code == NOT_FOUND:
            return DeviceSetupError(
                f"{self._connection.host} has no program '{self._config.python}': set device.python."
            )
        return None


class _RemoteTurn:
    """A process on the host that holds a device's lock until its input ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def end(self) -> None:
        """Release the device to the next process."""
        with suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=_ASK_S)
        _reap(self._process)


class SshWorker:
    """A worker on another host: files that a request names are copied there, and results copied back."""

    def __init__(self, client: WorkerClient, host: SshHost) -> None:
        self._client = client
        self._host = host
        self._scratch = ""

    def check_version(self) -> None:
        """Check the worker's protocol version; if it differs, close the worker and raise `WorkerVersionError`."""
        reply = self._client.request("hello", timeout_s=_HELLO_S)
        self._scratch = str(reply.get("cwd", ""))
        if reply.get("protocol") != PROTOCOL_VERSION:
            self.close()
            raise WorkerVersionError(
                f"The worker uses protocol {reply.get('protocol')}, and this version uses {PROTOCOL_VERSION}."
            )

    def request(self, command: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """Send one request; an exported model or input file of this machine is copied to the host first."""
        if command == "load":
            fields["exported_model"] = self._host.put(Path(fields["exported_model"]))
        if command == "predict":
            return self._predict(timeout_s, fields)
        return self._client.request(command, timeout_s=timeout_s, **fields)

    def close(self) -> None:
        """End the worker and remove its scratch folder on the host."""
        self._client.close()

    def _predict(self, timeout_s: float, fields: Mapping[str, Any]) -> dict[str, Any]:
        there = {key: f"{self._scratch}/{key}.npz" for key in ("inputs", "outputs")}
        self._host.send(Path(fields["inputs"]).read_bytes(), there["inputs"])
        reply = self._client.request("predict", timeout_s=timeout_s, **there)
        Path(fields["outputs"]).write_bytes(self._host.fetch(there["outputs"]))
        return reply


def _tar(directory: Path) -> Iterator[bytes]:
    """Yield a tar stream of the regular files, without owners and times."""
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
        entry.size = path.stat().st_size
        yield entry.tobuf(tarfile.PAX_FORMAT)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _write(pipe: IO[bytes], chunks: Iterator[bytes]) -> None:
    """Write everything and close; a reader that stops early replies with its reason, so that is not an error here."""
    with suppress(BrokenPipeError):
        for chunk in chunks:
            pipe.write(chunk)
    with suppress(BrokenPipeError):
        pipe.close()


def _reap(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(BrokenPipeError, AttributeError):
            pipe.close()  # type: ignore[union-attr]
