"""Copies on a device are complete or absent, whatever is sent."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from frm_mlflow.devices.ssh import _tar
from frm_mlflow.worker import store


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "nested").mkdir(parents=True)
    (tmp_path / "model" / "a.bin").write_bytes(bytes(range(256)) * 5)
    (tmp_path / "model" / "nested" / "name with spaces.bin").write_bytes(b"")
    return tmp_path / "model"


def hostile(name: str, **fields: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(entry, field, value)
        archive.addfile(entry)
    return buffer.getvalue()


def test_a_copy_is_what_was_sent(model: Path, tmp_path: Path):
    key = store.content_key(model)
    place = store.receive(io.BytesIO(b"".join(_tar(model))), tmp_path / "device", key)
    assert store.find(tmp_path / "device", key) == place
    assert store.content_key(place) == key
    # A second copy of the same content changes nothing.
    assert store.receive(io.BytesIO(b"".join(_tar(model))), tmp_path / "device", key) == place


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1500, 2000])
def test_a_copy_that_is_cut_off_leaves_nothing(model: Path, tmp_path: Path, length: int):
    stream = io.BytesIO(b"".join(_tar(model))[:length])
    with pytest.raises(store.StoreError) as caught:
        store.receive(stream, tmp_path / "device", store.content_key(model))
    assert caught.value.kind == "damaged"
    assert not any((tmp_path / "device" / "exported_models").iterdir())


@pytest.mark.parametrize(
    "stream",
    [
        hostile("../../outside"),
        hostile("/etc/outside"),
        hostile("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        hostile("device", type=tarfile.CHRTYPE),
        b"no archive at all" * 100,
    ],
)
def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, stream: bytes):
    with pytest.raises(store.StoreError):
        store.receive(io.BytesIO(stream), tmp_path / "device", "0" * 64)
    assert [path.name for path in tmp_path.rglob("*")] == ["device", "exported_models"]


def test_the_key_knows_names_and_bytes(model: Path):
    before = store.content_key(model)
    (model / "a.bin").rename(model / "b.bin")
    renamed = store.content_key(model)
    (model / "b.bin").write_bytes(b"other")
    assert len({before, renamed, store.content_key(model)}) == 3
