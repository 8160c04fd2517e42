"""The tests marked `oldest_mlflow` again, with client and server of the oldest MLflow that pyproject.toml allows."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import mlflow
import pytest
from packaging.version import Version

from tests.integrations.overlay import oldest_supported, overlay

HERE = Path(__file__).parent
LEAST_TESTS = 9


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overlay(tmp_path_factory.mktemp("oldest") / "venv", oldest_supported())


def test_the_ways_in_work_with_the_oldest_mlflow(python, tmp_path):
    ask = "import mlflow; print(mlflow.__version__)"
    oldest = subprocess.check_output([python, "-c", ask], text=True).strip()
    assert Version(oldest) == Version(oldest_supported()) < Version(mlflow.__version__)
    command = [python, "-m", "pytest", "-q", "-m", "oldest_mlflow", "-p", "no:cacheprovider", HERE]
    done = subprocess.run(
        [*command, "--basetemp", tmp_path / "tests"],
        cwd=HERE.parents[1],
        # This MLflow logs networks as pickles: the tests consent to loading models that they created.
        env=os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= LEAST_TESTS
