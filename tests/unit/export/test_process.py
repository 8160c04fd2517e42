"""An export process that crashes or hangs raises an ExportError with its last output."""

from __future__ import annotations

import sys
import time

import pytest

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.errors import ExportError, ModelError
from frm_mlflow.export import process
from frm_mlflow.export.request import ExportRequest

REQUEST = ExportRequest(
    model=ModelConfig(name="resnet18"), runtime="torch", precision=PrecisionConfig(name="fp32"), batch_size=1
)


def run(tmp_path, monkeypatch, script, *, timeout_s=60.0):
    program = tmp_path / "converter.py"
    program.write_text(script)
    monkeypatch.setattr(process, "python_command", lambda _, folder: [sys.executable, str(program), folder])
    directory = tmp_path / "entry"
    directory.mkdir()
    process.run(REQUEST, directory, timeout_s=timeout_s)
    return directory


def test_a_good_export_leaves_only_its_files(tmp_path, monkeypatch):
    script = "import sys, pathlib; print('chatter'); (pathlib.Path(sys.argv[1]) / 'model').write_text('m')"
    directory = run(tmp_path, monkeypatch, script)
    assert [path.name for path in directory.iterdir()] == ["model"]


def test_a_crash_keeps_the_last_output(tmp_path, monkeypatch):
    script = "import os, sys; print('step 7 of 9', flush=True); os.kill(os.getpid(), 11)"
    with pytest.raises(ExportError, match=r"(?s)resnet18 for torch ended with exit code -11.*step 7 of 9"):
        run(tmp_path, monkeypatch, script)


def test_a_hang_ends_at_the_time_limit_with_its_children(tmp_path, monkeypatch):
    script = "import subprocess, time; print('waiting', flush=True); subprocess.run(['sleep', '60']); time.sleep(60)"
    start = time.monotonic()
    with pytest.raises(ExportError, match=r"(?s)took longer than 2 s.*waiting"):
        run(tmp_path, monkeypatch, script, timeout_s=2.0)
    assert time.monotonic() - start < 30


def test_an_error_of_ours_keeps_its_kind(tmp_path, monkeypatch):
    script = """
import json, pathlib, sys
error = {"kind": "ModelError", "message": "unfit"}
(pathlib.Path(sys.argv[1]) / "error.json").write_text(json.dumps(error))
sys.exit(1)
"""
    with pytest.raises(ModelError, match=r"^unfit$"):
        run(tmp_path, monkeypatch, script)
