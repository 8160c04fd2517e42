"""A worker process and the protocol with it: the process may crash, hang or print garbage without harm."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Protocol

import psutil

from frm_mlflow.devices.replies import LONGEST_REPLY, ReplyError, checked, parsed
from frm_mlflow.errors import DeviceSetupError, MissingExtraError, WorkerError
from frm_mlflow.worker.parent import SIGNAL_CODE
from frm_mlflow.worker.runtimes import extra_of

_STDERR_LINES = 20
_LONGEST_LINE = 16 * 2**10
"""Longest line of a worker's standard error, in bytes; longer lines are cut."""
_MOST_WAITING = 4
"""Number of replies that are read ahead, so a worker that writes without a request cannot fill the memory."""
_LONGEST_REASON = 10_000
_POLL_SECONDS = 0.5
_END_SECONDS = 5.0


class Worker(Protocol):
    """What the controller needs from a worker, wherever it runs."""

    def request(self, command: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """Send one request and return its reply; raise `WorkerError` if there is no reply or it reports a failure."""

    def close(self) -> None:
        """End the worker and leave nothing behind."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a worker process."""

    command: Sequence[str]
    environment: Mapping[str, str]
    affinity: frozenset[int] | None = None
    memory_limit_mib: float | None = None
    """Resident memory above which the worker is killed; null means the memory that was free when it started."""
    where: str = ""
    """The remote host if the local process only connects to the worker; empty on this machine."""
    explain: Callable[[int, str], WorkerError | None] | None = None
    """Exit code and last output of the connection → its error, None if the worker itself ended."""


class WorkerClient:
    """A worker process and the protocol with it.

    Every failure of the process raises a `WorkerError` with the reason and the last lines that it wrote
    to standard error. The process and its group have then been killed.
    """

    def __init__(self, launch: Launch, *, name: str = "worker") -> None:
        self._name = name
        self._launch = launch
        self._limit_mib = launch.memory_limit_mib or _available_mib()
        self._process = subprocess.Popen(
            list(launch.command),
            env=dict(launch.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if launch.affinity is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, launch.affinity)
        self._replies: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._closed = threading.Event()
        self._last_output: deque[str] = deque(maxlen=_STDERR_LINES)
        self._readers = (
            threading.Thread(
                target=_read_lines, args=(_pipe(self._process.stdout), self._put_reply, LONGEST_REPLY + 1), daemon=True
            ),
            threading.Thread(
                target=_read_lines, args=(_pipe(self._process.stderr), self._note_output, _LONGEST_LINE), daemon=True
            ),
        )
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def request(self, command: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """Send one request and return its reply.

        Raises
        ------
        WorkerError
            If the worker crashed, was killed, ran out of memory, did not reply within
        `timeout_s`, sent a reply that the protocol does not allow, or reported a failure.
        """
        if not self._replies.empty() and (early := self._replies.get()) is not None:
            shown = early[:200].decode(errors="replace").rstrip()
            raise self._failed(command, f"sent a reply without a request, garbage: {shown!r}")
        line = json.dumps({"cmd": command} | fields) + "\n"
        try:
            stdin = _pipe(self._process.stdin)
            stdin.write(line.encode())
            stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._ended(command) from error
        reply = self._accepted(command, self._next_reply(command, timeout_s), fields)
        self._refuse_to_run_out_of_memory(command)  # a leak is also detected between short requests
        return reply

    def close(self) -> None:
        """Ask the worker to exit, then force it to; a worker that has already exited is fine."""
        if self._process.poll() is None and self._process.stdin and not self._process.stdin.closed:
            with suppress(BrokenPipeError, subprocess.TimeoutExpired):
                self._process.stdin.write(b'{"cmd": "close"}\n')
                self._process.stdin.close()
                self._process.wait(_END_SECONDS)
        self._kill()

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._kill()

    def _next_reply(self, command: str, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._replies.get(timeout=min(left, _POLL_SECONDS))
            except queue.Empty:
                self._refuse_to_run_out_of_memory(command)
                continue
            if line is None:
                raise self._ended(command)
            return line
        raise self._failed(command, f"did not respond within {timeout_s:g} s and was killed")

    def _accepted(self, command: str, line: bytes, fields: Mapping[str, Any]) -> dict[str, Any]:
        try:
            reply = parsed(line)
            if reply["ok"]:
                return checked(command, reply, fields)
        except ReplyError as error:
            raise self._failed(command, str(error)) from error
        package = str(reply.get("package", ""))
        if reply.get("kind") == "missing_package" and re.fullmatch(r"[\w.-]{1,100}", package):
            self._kill()
            if self._launch.where:
                raise DeviceSetupError(f"{self._launch.where} has no package '{package}': install it there.")
            raise MissingExtraError(package, extra_of(package), f"The {self._name}")
        raise self._failed(command, str(reply.get("error", "no reason given"))[:_LONGEST_REASON])

    def _refuse_to_run_out_of_memory(self, command: str) -> None:
        resident = _resident_mib(self._process.pid)
        if resident is not None and resident > self._limit_mib:
            used, limit = f"{resident:.0f} MiB", f"{self._limit_mib:.0f} MiB"
            raise self._failed(command, f"ran out of memory: it used {used}, the limit is {limit}; it was killed")

    def _ended(self, command: str) -> WorkerError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        code, explain = self._process.returncode, self._launch.explain
        if explain is not None and code is not None:
            self._kill()
            error = explain(code, "\n".join(self._last_output))
            if error is not None:
                return error
        return self._failed(command, self._how_it_ended())

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its output without exiting and was killed"
        if self._launch.where and code > SIGNAL_CODE:
            code = SIGNAL_CODE - code
        if code == -signal.SIGKILL:
            return "was killed by SIGKILL, as the system does when memory runs out"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended by itself with exit code {code}"

    def _failed(self, command: str, reason: str) -> WorkerError:
        self._kill()
        output = "\n".join(self._last_output)
        tail = f"\nIts last output:\n{output}" if output else ""
        return WorkerError(f"The {self._name} {reason} (at '{command}').{tail}")

    def _put_reply(self, line: bytes | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._replies.put(line, timeout=_POLL_SECONDS)
                return

    def _note_output(self, line: bytes | None) -> None:
        if line is not None:
            self._last_output.append(line.decode(errors="replace").rstrip())

    def _kill(self) -> None:
        """Kill the whole process group and reap it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._closed.set()
        for reader in self._readers:
            reader.join(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(BrokenPipeError):
                _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101  (the process was started with pipes; narrows the type)
    return pipe


def _read_lines(pipe: IO[bytes], put: Callable[[bytes | None], None], longest: int) -> None:
    """Pass on each line, cut at `longest` bytes, and None at the end."""
    with suppress(ValueError):  # closed by the other thread: the same as end of file
        while line := pipe.readline(longest):
            put(line)
    put(None)


def _available_mib() -> float:
    return float(psutil.virtual_memory().available) / 2**20


def _resident_mib(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return None
