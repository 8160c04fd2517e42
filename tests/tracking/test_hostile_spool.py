"""Spooled runs changed by a disk or another program: each is set aside, and none blocks the others."""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from records import record

from frm_mlflow.errors import DataError
from frm_mlflow.tracking import server, spool
from frm_mlflow.tracking.entry import RunEntry, record_entry
from frm_mlflow.tracking.run_files import RunFiles
from tests.mutate import mutated_json

SAMPLE, ALL = 400, 5000
LONGEST_S = 5.0


def good(uri: str = "sqlite:///nowhere.db", number: int = 0) -> RunEntry:
    return record_entry(record(number), tracking_uri=uri, experiment="spool", run_id="0a" * 16)


def damage(folder: Path, entry: RunEntry, rng: random.Random) -> None:
    """Damage the entry's file, or sometimes its surroundings."""
    kind = rng.random()
    file, artifacts = folder / "run.json", folder / "artifacts"
    if kind < 0.9:
        file.write_bytes(mutated_json(asdict(entry), rng))
    elif kind < 0.92:
        file.unlink()
        os.mkfifo(file)
    elif kind < 0.94:
        file.unlink()
        file.symlink_to("/dev/zero")
    elif kind < 0.96:
        shutil.rmtree(artifacts)
    elif kind < 0.98:
        (artifacts / "zero").symlink_to("/dev/zero")
    else:
        file.unlink()
        file.mkdir()


def assert_plausible(entry: RunEntry) -> None:
    assert all(type(value) is float and math.isfinite(value) for value in entry.metrics.values())
    for words in (entry.tags, entry.params):
        assert all(type(key) is str and key and type(value) is str for key, value in words.items())
    assert all(type(at) is int and 0 <= at < 253_402_300_800_000 for at in (entry.start_ms, entry.end_ms))
    assert type(entry.step) is int
    assert entry.status in ("FINISHED", "FAILED", "KILLED", "")
    assert all("/" not in (part or "") for part in (entry.run_id, entry.record_id, entry.model_id))


@pytest.mark.parametrize("count", [SAMPLE, pytest.param(ALL, marks=pytest.mark.slow)])
def test_a_changed_entry_is_plausible_or_refused_in_a_sentence(tmp_path: Path, count: int) -> None:
    rng, entry, refused, sentences = random.Random(f"spool/{count}"), good(), 0, []
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        entry.write(folder)
        damage(folder, entry, rng)
        started = time.monotonic()
        try:
            assert_plausible(RunEntry.read(folder))
        except DataError as error:
            refused += 1
            sentences.append(str(error))
        assert time.monotonic() - started < LONGEST_S
        shutil.rmtree(folder)
    assert refused > count / 2
    assert all("is not a saved run" in sentence and len(sentence) < 1000 for sentence in sentences)


def test_changed_entries_do_not_hold_up_healthy_ones(tmp_path: Path, database: str) -> None:
    rng, directory = random.Random("spool"), tmp_path / "spool"
    files = RunFiles(config="a: 1")
    healthy = [spool.keep(good(database, number), files, directory=directory) for number in range(3)]
    for number in range(30):
        folder = directory / f"{number:013d}-changed"
        shutil.copytree(healthy[0], folder)
        damage(folder, good("sqlite:////proc/nowhere/mlflow.db"), rng)
    report = spool.resend(directory)
    assert not any(folder.exists() for folder in healthy)
    assert report.sent >= 3
    assert len(report.set_aside) == len(spool.set_aside(directory)) > 15
    assert server.connect(database).get_experiment_by_name("spool") is not None
