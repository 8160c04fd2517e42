"""Fingerprints of a user's factory: anything that it depends on changes them."""

import sys
import tempfile
from pathlib import Path

import pytest

from frm_mlflow.export import process

MAKER = """
from pk.parts.width import WIDTH
print("building")
def make():
    return [WIDTH, open(FILE).read()]
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("torch")
    (tmp_path / "pk" / "parts").mkdir(parents=True)
    for folder in ("pk", "pk/parts"):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "pk" / "weights.txt").write_text("1")
    (tmp_path / "pk" / "make.py").write_text(MAKER.replace("FILE", repr(str(tmp_path / "pk" / "weights.txt"))))
    (tmp_path / "pk" / "parts" / "width.py").write_text("WIDTH = 8\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_a_changed_sub_package_or_checkpoint_changes_the_hash(package: Path) -> None:
    settings = {"target": "pk.make:make", "kwargs": {}, "seed": 0, "example": None}
    first = process.fingerprint(settings)
    assert first == process.fingerprint(settings)
    (package / "pk" / "parts" / "width.py").write_text("WIDTH = 16\n")
    second = process.fingerprint(settings)
    (package / "pk" / "weights.txt").write_text("2")
    assert len({first, second, process.fingerprint(settings)}) == 3
    assert None not in {first, second}
    assert not list((package / "tmp").iterdir()), "nothing is left in the temporary folder"


def test_a_factory_that_fails_has_no_fingerprint(package: Path) -> None:
    assert process.fingerprint({"target": "pk.make:missing", "kwargs": {}, "seed": 0, "example": None}) is None
