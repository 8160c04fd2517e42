"""Supervises a worker at the remote end of a connection: the worker ends with it, whatever it is doing.

The watcher and the worker share standard input. The worker reads it. The watcher only asks the
system whether the other end has closed and how much memory the worker uses.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .parent import PARENT_VARIABLE, SIGNAL_CODE
from .store import SCRATCH

_POLL_MS = 500
_GRACE_S = 3.0


def supervise(
    serve: Callable[[], int],
    *,
    folder: Path,
    affinity: frozenset[int] | None = None,
    memory_limit_mib: float | None = None,
    grace_s: float = _GRACE_S,
) -> int:
    """Run `serve` in a separate process and return its exit code; nothing of it remains afterwards.

    It is killed if the connection has been closed for `grace_s`, or if it uses more memory than
    the limit (by default what was free when it started).
    """
    watcher = os.getpid()
    scratch = folder / SCRATCH / str(watcher)
    scratch.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        _become_worker(serve, watcher, scratch, affinity)
    try:
        return _watch(pid, limit_mib=memory_limit_mib or _available_mib(), grace_s=grace_s)
    finally:
        _kill_group(pid)
        shutil.rmtree(scratch, ignore_errors=True)


def _become_worker(serve: Callable[[], int], watcher: int, scratch: Path, affinity: frozenset[int] | None) -> None:
    """Continue as the worker; never returns to the watcher's code."""
    code = 1
    try:
        os.setsid()
        os.chdir(scratch)
        os.environ[PARENT_VARIABLE] = str(watcher)
        if affinity is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, affinity)
        code = serve()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _watch(pid: int, *, limit_mib: float | None, grace_s: float) -> int:
    connection = select.poll()
    connection.register(sys.stdin.fileno(), select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0))
    gone_since: float | None = None
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else SIGNAL_CODE - code
        resident = _resident_mib(pid)
        if limit_mib is not None and resident > limit_mib:
            sys.stderr.write(f"out of memory: it used {resident:.0f} MiB, the limit is {limit_mib:.0f} MiB\n")
            return SIGNAL_CODE + signal.SIGKILL
        if gone_since is not None:
            if time.monotonic() - gone_since > grace_s:
                return SIGNAL_CODE + signal.SIGHUP
            time.sleep(_POLL_MS / 5000)
        elif _is_gone(connection):
            gone_since = time.monotonic()


def _is_gone(connection: select.poll) -> bool:
    return bool(connection.poll(_POLL_MS))


def _kill_group(pid: int) -> None:
    """Kill the worker and its children and reap it; it may have exited already, or not have its own group yet."""
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # already reaped, but its children may remain
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _available_mib() -> float | None:
    """Return the memory available to new programs; None if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(available[0]) / 1024 if available else None
