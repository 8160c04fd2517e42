"""Exports in a separate process: cached the second time, errors with their type and reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import ExportError, ModelError
from frm_mlflow.export import ExportCache, export
from frm_mlflow.worker.manifest import ExportedModel


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ExportCache(tmp_path_factory.mktemp("cache"))


def user(factory: str, **settings) -> ModelConfig:
    return ModelConfig(name=factory, source="target", target=f"user_networks:{factory}", input_size=32, **settings)


def test_a_second_export_comes_from_the_cache_without_torch(cache):
    model = ModelConfig(name="squeezenet1_1")
    first = export(model, runtime="torch", cache=cache)
    assert ExportedModel.read(first).facts["gmacs"] == pytest.approx(0.349, rel=0.01)
    again = """
import json, sys
from pathlib import Path
from frm_mlflow.config import ModelConfig
from frm_mlflow.export import ExportCache, export
cache = ExportCache(Path(sys.argv[1]))
path = export(ModelConfig(name="squeezenet1_1"), runtime="torch_compile", cache=cache)
print(json.dumps([str(path), "torch" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", again, str(cache.root)], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [str(first), False]


@pytest.mark.parametrize(
    ("model", "runtime", "error", "message"),
    [
        (user("not_finite"), "torch", ModelError, "not finite"),
        pytest.param(
            *(user("reads_values"), "executorch", ExportError, r"executorch cannot take 'reads_values' in fp32: .*"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["unfit", "refused by the converter"],
)
def test_an_error_comes_back_with_its_kind_and_reason(model, runtime, error, message, cache):
    with pytest.raises(error, match=message):
        export(model, runtime=runtime, cache=cache)


def test_failed_exports_leave_nothing_in_the_cache(cache):
    assert {entry.model for entry in cache.entries()} <= {"squeezenet1_1"}
    assert list(Path(cache.root / "staging").iterdir()) == []
