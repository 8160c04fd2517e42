"""The real pynvml with a stand-in for NVML, on a machine without a GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
Told = Callable[..., Any]


def compiled(name: str, library: str, folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, which builds the stand-in for NVML")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / library, HERE / name], check=True)
    return folder


def clean() -> dict[str, str]:
    """Return the environment without the settings of a real GPU."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("FAKE_", "CUDA_", "NVIDIA_"))}


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a libnvidia-ml.so.1 that reports the values of FAKE_* variables."""
    return compiled("nvml.c", "libnvidia-ml.so.1", tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def environment(nvml_folder: Path, tmp_path: Path) -> dict[str, str]:
    """Return an environment with that library, without the settings of a real GPU."""
    return clean() | {
        "LD_LIBRARY_PATH": str(nvml_folder),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "FRM_MLFLOW_SPOOL": str(tmp_path / "spool"),
    }


FORKS = """
import importlib, json, os, sys
for name in ("frm_mlflow.devices", "frm_mlflow.runners.doctor", "frm_mlflow.worker.accelerator"):
    importlib.import_module(name)
for line in sys.stdin:
    asked = json.loads(line)
    if os.fork():
        os.wait()
        continue
    os.environ.update(asked["fakes"])
    sys.argv = ["-c", *asked["words"]]
    try:
        exec(asked["program"], {"__name__": "__main__"})
    except BaseException as error:
        print(json.dumps({"raised": f"{type(error).__name__}: {error}"}))
    sys.stdout.flush()
    os._exit(0)
"""
"""Imports what the programs need once, and runs each program in a fork, which loads NVML with its own variables."""


@pytest.fixture(scope="session")
def forks(nvml_folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the process that runs programs with the stand-in for NVML."""
    environment = clean() | {"LD_LIBRARY_PATH": str(nvml_folder)}
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


@pytest.fixture
def ask(forks: subprocess.Popen[str]) -> Told:
    """Run a program under FAKE_* variables and return the JSON that it prints."""

    def run(program: str, *words: str, **fakes: str) -> Any:
        assert forks.stdin is not None
        assert forks.stdout is not None
        forks.stdin.write(json.dumps({"program": program, "words": words, "fakes": fakes}) + "\n")
        forks.stdin.flush()
        return json.loads(forks.stdout.readline())

    return run
