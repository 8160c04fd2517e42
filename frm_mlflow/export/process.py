"""Run one export in a separate process.

Converters change global state, print, leak memory and crash; none of that affects the sweep.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frm_mlflow import errors, redact
from frm_mlflow.errors import ExportError, FrmError
from frm_mlflow.folders import cache_folder
from frm_mlflow.worker.parent import PARENT_VARIABLE
from frm_mlflow.worker.start import environment, python_command

if TYPE_CHECKING:
    from frm_mlflow.export.request import ExportRequest

REQUEST_NAME = "request.json"
ERROR_NAME = "error.json"
LOG_NAME = "export.log"
INDUCTOR_NAME = "torchinductor"
_LAST_LINES = 15


def run(request: ExportRequest, directory: Path, *, timeout_s: float) -> None:
    """Start a new process that fills `directory` with the exported model of `request`.

    Raises
    ------
    FrmError
        What the process raised; `ExportError` with its last output if it crashed or took too long.
    """
    (directory / REQUEST_NAME).write_text(request.to_json())
    command = python_command("frm_mlflow.export", str(directory))
    code = _run_python(command, directory, timeout_s=timeout_s)
    if code != 0:
        raise _failure(directory, code, f"{request.model.name} for {request.runtime}", timeout_s=timeout_s)
    for name in (REQUEST_NAME, LOG_NAME):
        (directory / name).unlink()
    shutil.rmtree(directory / INDUCTOR_NAME, ignore_errors=True)


def fingerprint(settings: Mapping[str, Any], *, timeout_s: float = 600.0) -> str | None:
    """Start a new process that builds a user's network, and return the hash of its content.

    Returns None if it cannot be built or hashed. The export then reports the reason, and its result is not reused.
    """
    process = subprocess.Popen(
        python_command("frm_mlflow.export.fingerprint"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(cache_folder()),
        start_new_session=True,
        text=True,
    )
    with process:
        try:
            digest, _ = process.communicate(json.dumps(settings), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)
    return digest if process.returncode == 0 else None


def _environment(directory: Path) -> dict[str, str]:
    """Return the environment of a process that may import TorchInductor, which otherwise leaves a folder in /tmp."""
    extra = {"TORCHINDUCTOR_CACHE_DIR": str(directory / INDUCTOR_NAME), PARENT_VARIABLE: str(os.getpid())}
    return environment(redact.snapshot(os.environ), extra)


def _run_python(command: Sequence[str], directory: Path, *, timeout_s: float) -> int | None:
    """Run Python in a new process group and return its exit code, None after a timeout."""
    with (directory / LOG_NAME).open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(directory),
            start_new_session=True,
        )
        return _wait(process, timeout_s=timeout_s)


def _wait(process: subprocess.Popen[bytes], *, timeout_s: float) -> int | None:
    """Return the exit code, None after a timeout; no process of the export's group survives this call."""
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[Any]) -> None:
    """Kill the process group if its leader is still running."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(directory: Path, code: int | None, what: str, *, timeout_s: float) -> FrmError:
    report = directory / ERROR_NAME
    if report.exists():
        raised = json.loads(report.read_text())
        kind = getattr(errors, raised["kind"], ExportError)
        return (
            kind(raised["message"]) if kind is not errors.MissingExtraError else errors.ConfigError(raised["message"])
        )
    how = f"took longer than {timeout_s:.0f} s" if code is None else f"ended with exit code {code}"
    last = (directory / LOG_NAME).read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return ExportError(f"exporting {what} {how}; its last output:\n" + "\n".join(last))
