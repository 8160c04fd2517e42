"""Run a real MLflow server on a free loopback port, for benchmarks and tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """Return a loopback port that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(
    directory: Path,
    *,
    port: int,
    backend: str | None = None,
    workers: int = 1,
    options: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `mlflow server` with its database, artifacts and log in `directory`, without waiting for it."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(workers), "--backend-store-uri", backend or f"sqlite:///{directory}/mlflow.db"]
    command += ["--artifacts-destination", str(directory / "artifacts"), *options]
    own = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (directory / "server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **own, **(environ or {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_until_healthy(uri: str, process: subprocess.Popen[bytes], *, timeout_s: float = 120.0) -> None:
    """Return once the server passes its health check; raise if it exits or does not respond."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the MLflow server at {uri} ended with exit code {process.returncode}")
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=2):  # noqa: S310 - a loopback http address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the MLflow server at {uri} did not answer within {timeout_s:.0f} s")


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """Stop the server and its worker processes."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()


@contextmanager
def running_server(
    directory: Path,
    *,
    backend: str | None = None,
    workers: int = 1,
    options: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Yield the URI of an MLflow server that is stopped at the end of the block."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    process = start_server(directory, port=port, backend=backend, workers=workers, options=options, environ=environ)
    try:
        wait_until_healthy(uri, process)
        yield uri
    finally:
        stop_server(process)
