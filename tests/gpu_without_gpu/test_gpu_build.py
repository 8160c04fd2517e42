"""The real onnxruntime-gpu with a stand-in for the driver: errors name what is missing, up to the card itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path

import pytest

from frm_mlflow.worker.cuda_setup import wheel_cuda
from tests.gpu_without_gpu.conftest import clean, compiled

ROOT = Path(__file__).parent.parent.parent
REQUEST = {"cmd": "preflight", "runtime": "onnxruntime", "device": "cuda", "precision": "fp32"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gpu_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install only onnxruntime-gpu into a separate environment, with this environment's numpy."""
    folder = tmp_path_factory.mktemp("gpu_build")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    uv = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--no-deps"]
    pinned = ["-c", str(ROOT / "constraints-gpu.txt"), "onnxruntime-gpu"]
    subprocess.run([*uv, "--python", str(folder / "bin/python"), *pinned], check=True)
    link(folder, "numpy")
    link(folder, "numpy.libs")
    return folder


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3*/site-packages"))


def link(environment: Path, name: str) -> None:
    source = Path(str(util.find_spec("numpy").origin)).parent.parent / name
    if source.exists():
        (site_packages(environment) / name).symlink_to(source)


@pytest.fixture
def preflight(gpu_build: Path, tmp_path: Path) -> Callable[[str], str]:
    """Ask a worker of that environment for a preflight and return its error."""

    def ask(libraries: str) -> str:
        environment = clean() | {"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": libraries}
        done = subprocess.run(
            [gpu_build / "bin/python", "-m", "frm_mlflow.worker"],
            env=environment, cwd=tmp_path, input=json.dumps(REQUEST) + "\n", text=True, capture_output=True, check=True,
        )  # fmt: skip
        reply = json.loads(done.stdout)
        assert (reply["ok"], reply["kind"]) == (False, "provider")
        return reply["error"]

    return ask


def test_with_torchs_libraries_only_the_card_is_missing(preflight, gpu_build: Path, tmp_path: Path):
    if not wheel_cuda("torch"):
        pytest.skip("torch's wheel here brings no CUDA libraries")
    stub = str(compiled("cuda.c", "libcuda.so.1", tmp_path))
    assert "libcublasLt.so" in preflight(stub), "without the libraries the missing one is named"
    assert "bench-gpu" in preflight(stub)
    link(gpu_build, "nvidia")
    assert "CUDA error 100: no CUDA-capable device is detected" in preflight(stub)
    assert "libcuda.so.1" in preflight(os.devnull)
    assert "install NVIDIA's driver" in preflight(os.devnull)
