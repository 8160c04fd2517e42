"""Run one export in a process of its own.

Converters change global state, print, leak and crash; none of that reaches the sweep.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from frm_mlflow import errors, redact
from frm_mlflow.errors import ExportError, FrmError
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.worker.parent import PARENT_VARIABLE
from frm_mlflow.worker.start import environment, python_command

REQUEST_NAME = "request.json"
ERROR_NAME = "error.json"
LOG_NAME = "export.log"
INDUCTOR_NAME = "torchinductor"
_LAST_LINES = 15


def run(request: ExportRequest, directory: Path, *, timeout_s: float) -> None:
    """Have a fresh process fill `directory` with the artefact of `request`.

    Raises
    ------
    FrmError
        What the process raised; `ExportError` with its last output where it crashed or took too long.
    """
    (directory / REQUEST_NAME).write_text(request.to_json())
    log, inductor = directory / LOG_NAME, directory / INDUCTOR_NAME
    extra = {
        "TORCHINDUCTOR_CACHE_DIR": str(inductor),  # importing it makes a folder, which would stay in /tmp
        PARENT_VARIABLE: str(os.getpid()),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            python_command("frm_mlflow.export", str(directory)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(redact.snapshot(os.environ), extra),
            start_new_session=True,
        )
        code = _wait(process, timeout_s=timeout_s)
    if code != 0:
        raise _failure(directory, code, f"{request.model.name} for {request.runtime}", timeout_s=timeout_s)
    for name in (REQUEST_NAME, LOG_NAME):
        (directory / name).unlink()
    shutil.rmtree(inductor, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], *, timeout_s: float) -> int | None:
    """Return the exit code, None after a timeout; no process of the export's group outlives this."""
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
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
