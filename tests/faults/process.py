"""Run `frm-mlflow` as a separate process, without the ten seconds that its imports take.

A server process imports everything once and forks. The forked process runs the product's real `main`, has its own
process id and can be killed like any other. The server imports this module, so nothing here may start a thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

FORKS = multiprocessing.get_context("forkserver")
JOURNAL_VARIABLE = "FRM_FAULTS_JOURNAL"
CASE_VARIABLE = "FRM_FAULTS_CASE"
"""Inherited by every process that a case starts, to find those that still run after the case."""
FLEET_VARIABLE = "FRM_FAULTS_FLEET"
"""Inherited by every process on the campaign's Ray nodes; holds the campaign's folder."""
HOST_VARIABLE = "FRM_FAULTS_HOST"
"""The host on which a command pretends to run: processes cannot be looked up from another host."""
EXPIRES_S = 6.0
"""Time after which an owner on another host counts as gone; the product's default would make the tests slow."""


def preload() -> None:
    """Make the fork server import what a sweep imports."""
    FORKS.set_forkserver_preload(["tests.faults.preloaded"])


def _main(arguments: Sequence[str], environ: Mapping[str, str], folder: str, log: str, errors: str) -> None:
    os.environ.update(environ)
    sys.path[:0] = environ.get("PYTHONPATH", "").split(os.pathsep)
    os.chdir(folder)
    for descriptor, path in ((1, log), (2, errors)):
        with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - it replaces a file descriptor
            os.dup2(file.fileno(), descriptor)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from frm_mlflow import cli
    from tests.faults import leak
    from tests.faults.journal import tap

    _shorten_leases()
    if HOST_VARIABLE in environ:
        _pretend(environ[HOST_VARIABLE])
    if JOURNAL_VARIABLE in environ:
        tap(Path(environ[JOURNAL_VARIABLE]))
    if leak.VARIABLE in environ:
        leak.make_workers_leaky()
    sys.argv = ["frm-mlflow", *arguments]
    cli.main()


def _shorten_leases() -> None:
    """Renew leases more often and expire them sooner: every process of a case must do both."""
    from frm_mlflow.tracking import lease

    lease.BEAT_S, lease.EXPIRES_S = EXPIRES_S / 12, EXPIRES_S


def _pretend(host: str) -> None:
    """Make this process appear to run on another host."""
    import platform

    from frm_mlflow.tracking import lease

    platform.node = lambda: host  # type: ignore[assignment]
    lease._kernel = lambda: host


class _Loaded(subprocess.Popen[bytes]):
    """A program with the interface of a fork."""

    @property
    def exitcode(self) -> int | None:
        return self.returncode

    def is_alive(self) -> bool:
        return self.poll() is None

    def join(self, timeout_s: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout_s)


@dataclass
class Command:
    """One running `frm-mlflow` command."""

    process: ForkServerProcess | _Loaded
    started: float

    @classmethod
    def start(
        cls,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        folder: Path,
        log: Path,
        errors: Path | None = None,
    ) -> Command:
        """Start `frm-mlflow ARGUMENTS` in `folder`; its output goes to `log`, or its errors to a separate file."""
        args = (list(arguments), dict(environ), str(folder), str(log), str(errors or log))
        process = FORKS.Process(target=_main, args=args)
        process.start()
        return cls(process, time.monotonic())

    @classmethod
    def load(cls, arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path, log: Path) -> Command:
        """Start it as a new program rather than a fork."""
        with log.open("ab") as file:
            command = [sys.executable, "-m", "tests.faults.journal", *arguments]
            process = _Loaded(command, env=dict(environ), cwd=folder, stdout=file, stderr=file, start_new_session=True)
        return cls(process, time.monotonic())

    @property
    def pid(self) -> int:
        """Process id of the command."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the command is still running."""
        return self.process.is_alive()

    def send(self, number: int) -> bool:
        """Send a signal; return whether the process still existed."""
        if not self.running:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, timeout_s: float = 180.0) -> int:
        """Return the exit code; kill a command that hangs and raise, since that is a bug in the product."""
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"the command did not end within {timeout_s:.0f} s")
        return int(self.process.exitcode or 0)

    def worker(self, *, until_s: float) -> psutil.Process | None:
        """Return one of its workers, waiting for the next one if there is none; None if the command ends first."""
        deadline = time.monotonic() + until_s
        while time.monotonic() < deadline and self.running:
            try:
                found = [p for p in psutil.Process(self.pid).children() if "frm_mlflow.worker" in " ".join(p.cmdline())]
            except psutil.NoSuchProcess:
                return None
            if found:
                return found[-1]
            time.sleep(0.01)
        return None


def stragglers(case: str) -> list[psutil.Process]:
    """Return the processes of a case that are still running: its name is in their environment or command line."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get(CASE_VARIABLE) == case or any(
                f"/{case}/" in word for word in process.cmdline()
            )
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def jobs_of_the_fleet(folder: Path) -> list[psutil.Process]:
    """Return the product's processes on this campaign's Ray nodes, without those that Ray itself keeps."""
    found = []
    for process in psutil.process_iter():
        try:
            started_by_us = any(word.startswith("frm_mlflow.") for word in process.cmdline())
            if started_by_us and process.environ().get(FLEET_VARIABLE) == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
