from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from frm_mlflow.tracking.run_files import NO_FILES, RunFiles, flat_params


def test_a_nested_config_becomes_params() -> None:
    config = {"measure": {"runs": 100, "cap": None}, "models": ["a", {"name": "b"}], "tags": {}, "empty": []}
    assert flat_params(config) == {
        "measure.runs": "100",
        "measure.cap": "None",
        "models.0": "a",
        "models.1.name": "b",
        "tags": "{}",
        "empty": "[]",
    }
    assert flat_params({"a": 1}, prefix="bench") == {"bench.a": "1"}
    assert flat_params({}) == {}


def test_files_are_written_where_there_is_something_to_write(tmp_path: Path) -> None:
    NO_FILES.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    samples = pd.DataFrame({"wall_ns": [1, 2]})
    RunFiles(samples, {"path": tmp_path}, "a: 1\n", {"worker.log": "näh"}).write(tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "samples.parquet"), samples)
    assert json.loads((tmp_path / "environment.json").read_text()) == {"path": str(tmp_path)}
    assert (tmp_path / "config.yaml").read_text() == "a: 1\n"
    assert (tmp_path / "worker.log").read_text(encoding="utf-8") == "näh"
