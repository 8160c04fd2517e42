"""The cache under corruption, concurrent writers and pruning."""

from __future__ import annotations

import multiprocessing
import os
from datetime import datetime, timedelta, timezone

import pytest

from frm_mlflow.errors import ExportError
from frm_mlflow.export.cache import DAMAGED, SEAL_NAME, ExportCache, is_intact, sha256
from frm_mlflow.worker.manifest import ExportedModel

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


def exported_model(directory, *, content=b"weights", model="resnet18"):
    (directory / "model.onnx").write_bytes(content)
    ExportedModel(model=model, runtime="onnxruntime", precision="fp32", file="model.onnx", inputs=(), outputs=()).write(
        directory
    )


def fill(cache, key, *, age_days=0, size=10):
    entry = cache.fetch(key, lambda directory: exported_model(directory, content=b"x" * size, model=key))
    stamp = (NOW - timedelta(days=age_days)).timestamp()
    os.utime(entry / SEAL_NAME, (stamp, stamp))
    return entry


@pytest.fixture
def cache(tmp_path):
    return ExportCache(tmp_path)


def test_a_second_fetch_does_not_build_again(cache):
    built = []

    def build(directory):
        built.append(directory)
        exported_model(directory)

    assert cache.fetch("k", build) == cache.fetch("k", build)
    assert len(built) == 1


@pytest.mark.parametrize("damage", ["change", "truncate", "remove", "seal", "no seal"])
def test_a_damaged_entry_is_built_anew(cache, damage):
    entry = fill(cache, "k")
    model = entry / "model.onnx"
    match damage:
        case "change":
            model.write_bytes(b"y" * 10)
        case "truncate":
            model.write_bytes(b"x" * 9)
        case "remove":
            model.unlink()
        case "seal":
            (entry / SEAL_NAME).write_text("{")
        case "no seal":
            (entry / SEAL_NAME).unlink()
    assert not is_intact(entry)
    assert (fill(cache, "k") / "model.onnx").read_bytes() == b"x" * 10
    assert is_intact(entry)


def test_a_failed_build_leaves_nothing(cache):
    def build(directory):
        (directory / "half").write_bytes(b"x")
        raise ExportError("no")

    with pytest.raises(ExportError):
        cache.fetch("k", build)
    assert cache.entries() == ()
    assert [path for path in cache.root.rglob("*") if path.name == "half"] == []


def _fetch_slowly(root, log, barrier):
    def build(directory):
        with open(log, "ab", buffering=0) as file:  # noqa: PTH123 (one write per line, by several processes)
            file.write(b"built\n")
        exported_model(directory, content=b"z" * 200_000)

    barrier.wait()
    entry = ExportCache(root).fetch("k", build)
    assert is_intact(entry)


def test_concurrent_writers_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    log = tmp_path / "log"
    workers = [context.Process(target=_fetch_slowly, args=(tmp_path / "cache", log, barrier)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert log.read_bytes() == b"built\n"


def test_entries_are_listed_the_last_used_first(cache):
    fill(cache, "old", age_days=9, size=5)
    fill(cache, "new", age_days=1)
    entries = cache.entries()
    assert [(entry.key, entry.model, entry.runtime) for entry in entries] == [
        ("new", "new", "onnxruntime"),
        ("old", "old", "onnxruntime"),
    ]
    assert entries[0].last_used == NOW - timedelta(days=1)
    assert entries[0].bytes == sum(path.stat().st_size for path in entries[0].path.iterdir())


def test_a_damaged_entry_is_listed_as_such_and_pruned_like_others(cache):
    (fill(cache, "k", age_days=9) / "exported_model.json").write_text("{")
    assert [entry.model for entry in cache.entries()] == [DAMAGED]
    assert len(cache.prune(older_than=timedelta(days=1), now=NOW)) == 1
    assert cache.entries() == ()


def test_prune_removes_what_is_old(cache):
    fill(cache, "old", age_days=9)
    fill(cache, "new", age_days=1)
    removed = cache.prune(older_than=timedelta(days=5), now=NOW)
    assert [entry.key for entry in removed] == ["old"]
    assert [entry.key for entry in cache.entries()] == ["new"]


def test_prune_leaves_an_entry_that_is_being_written(cache):
    fill(cache, "k", age_days=9)
    with cache._lock("k"):
        assert ExportCache(cache.root).prune(older_than=timedelta(days=1), now=NOW) == ()


def test_prune_leaves_an_entry_that_was_used_since_it_was_listed(cache, monkeypatch):
    entry = fill(cache, "old", age_days=40)
    listed = cache.entries()
    monkeypatch.setattr(cache, "entries", lambda: listed)
    cache.fetch("old", lambda directory: pytest.fail("built again"))
    assert cache.prune(older_than=timedelta(days=30), now=NOW) == ()
    assert is_intact(entry)


def test_an_entry_removed_before_its_use_is_built_again(cache, monkeypatch):
    """A prune that comes before the hit: because of the lock, the hit finds no entry rather than half of one."""
    entry = fill(cache, "pruned", age_days=40)
    cache.prune(older_than=timedelta(days=30), now=NOW)
    assert cache.fetch("pruned", exported_model) == entry
    assert is_intact(entry)


def test_the_directory_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FRM_CACHE_DIR", str(tmp_path))
    assert ExportCache().root == tmp_path


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_killed_writer_left_is_removed(tmp_path) -> None:
    cache = ExportCache(tmp_path)
    for name in ("a-1234", "b-1234"):
        (tmp_path / "staging" / name).mkdir(parents=True)
    cache.fetch("a", lambda directory: (directory / "f").write_text("x") and None)
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["b-1234"], "another key may be in the making"
    with cache._lock("b"):
        cache.prune(older_than=timedelta(days=30), now=NOW)
        assert [path.name for path in (tmp_path / "staging").iterdir()] == ["b-1234"]
    cache.prune(older_than=timedelta(days=30), now=NOW)
    assert list((tmp_path / "staging").iterdir()) == []
