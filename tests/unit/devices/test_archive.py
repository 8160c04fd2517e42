"""The worker as one file: the same bytes wherever it is built, and independent of the rest of the package."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from frm_mlflow.devices import archive
from frm_mlflow.worker import PROTOCOL_VERSION


def test_the_bytes_depend_on_the_sources_alone(monkeypatch):
    first = archive.worker_archive()
    archive.worker_archive.cache_clear()
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert archive.worker_archive() == first
    assert first.sha256 == hashlib.sha256(first.content).hexdigest()
    entries = zipfile.ZipFile(io.BytesIO(first.content)).infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert not any("__pycache__" in entry.filename for entry in entries)


def test_it_runs_alone_without_numpy(tmp_path: Path):
    program = tmp_path / "worker.pyz"
    program.write_bytes(archive.worker_archive().content)
    command = [sys.executable, "-I", "-S", str(program), "probe", "--folder", str(tmp_path)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, cwd="/").stdout)
    assert answer["protocol"] == PROTOCOL_VERSION
    assert answer["sha256"] == archive.worker_archive().sha256
    assert answer["has_numpy"] is False
