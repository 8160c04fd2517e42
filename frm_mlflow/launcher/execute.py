"""Runs one job on the current host, for a Ray task or an element of a Slurm array."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace

from frm_mlflow import __version__, redact
from frm_mlflow.launcher.request import Reply, Request, reply_of

_TAIL_LINES = 30


def execute(request: Request) -> Reply:
    """Run the job in a separate process and return its reply; however it ends, no process is left behind.

    If the process dies without a reply, the returned reply has an error with how it died and its last output.
    An interrupt is passed on to the process, which then has the request's grace period to close its runs.
    """
    if request.version != __version__:
        here = platform.node()
        return Reply(
            error=f"{here} has frm-mlflow {__version__}, the sweep was launched with {request.version}: "
            f"install frm-mlflow {request.version} on {here}",
            host=here,
        )
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "frm_mlflow.launcher.job_process", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(redact.snapshot(os.environ)),
        start_new_session=True,
    )
    try:
        out, err = process.communicate(json.dumps(asdict(request)).encode())
    except BaseException:
        _interrupt(process, grace_s=request.grace_s)
        raise
    finally:
        _kill_group(process)
    return replace(_reply(process.returncode, out, err), seconds=time.monotonic() - started)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that the surrounding host process has set for itself.

    Ray hides every GPU from a task that did not request one; here the device decides, not Ray's own accounting.
    """
    hidden = environ.get("CUDA_VISIBLE_DEVICES") == ""
    return {key: value for key, value in environ.items() if not (hidden and key == "CUDA_VISIBLE_DEVICES")}


def _reply(code: int, out: bytes, err: bytes) -> Reply:
    host = platform.node()
    lines = out.decode(errors="replace").splitlines()
    if code == 0 and lines:
        return replace(reply_of(lines[-1], sender=f"the job's process on {host}"), host=host)
    tail = "\n".join(err.decode(errors="replace").splitlines()[-_TAIL_LINES:])
    return Reply(error=f"the job's process on {host} {_how_it_ended(code)}" + (f"\n{tail}" if tail else ""), host=host)


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL, as the system does when memory runs out"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended by itself with exit code {code}"


def _interrupt(process: subprocess.Popen[bytes], *, grace_s: float) -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=grace_s)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
