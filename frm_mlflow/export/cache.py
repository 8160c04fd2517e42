"""A content-addressed cache of exported models, safe for concurrent writers.

An entry is a directory named by its key. It is written to a temporary directory, sealed with the
hashes of its files and renamed into place, so a reader sees either a complete entry or none. One lock
per key keeps two processes from doing the same export twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from frm_mlflow.folders import cache_folder
from frm_mlflow.worker.manifest import ExportedModel

SEAL_NAME = "seal.json"
"""Byte count and SHA-256 of every file of an entry; its modification time is the entry's last use."""

DAMAGED = "(damaged)"
"""Shown as the model of an entry whose manifest cannot be read. It is exported again when next requested."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One exported model in the cache; `last_used` is in UTC."""

    key: str
    path: Path
    model: str
    runtime: str
    precision: str
    bytes: int
    last_used: datetime


class ExportCache:
    """Exported models, keyed by the hash of everything that goes into them.

    Parameters
    ----------
    root : Path, optional
        Directory of the cache; by default `$FRM_CACHE_DIR`, else `exported_models` in `cache_folder()`.
    """

    def __init__(self, root: Path | None = None) -> None:
        configured = os.environ.get("FRM_CACHE_DIR")
        self.root = root or (Path(configured) if configured else cache_folder() / "exported_models")

    def fetch(self, key: str, build: Callable[[Path], None]) -> Path:
        """Return the directory of the entry `key`; `build` fills it if it is missing or damaged.

        The entry's lock is held until its last use is recorded, so a concurrent prune either removes it
        first, or sees that it was just used and keeps it.
        """
        entry = self.root / key
        with self._lock(key):
            if not is_intact(entry):
                self._clear_staging(key)
                self._write(entry, build)
            os.utime(entry / SEAL_NAME)
        return entry

    def entries(self) -> tuple[CacheEntry, ...]:
        """List all entries, most recently used first."""
        entries = (_describe(path.parent) for path in self.root.glob(f"*/{SEAL_NAME}"))
        return tuple(sorted(filter(None, entries), key=lambda entry: entry.last_used, reverse=True))

    def prune(self, *, older_than: timedelta, now: datetime) -> tuple[CacheEntry, ...]:
        """Remove entries not used since `now - older_than`, and what killed writers left behind.

        Entries that are being written, or were used since they were listed, are kept.

        Returns
        -------
        tuple of CacheEntry
            The removed entries.
        """
        removed = [entry for entry in self.entries() if entry.last_used < now - older_than and self._remove(entry)]
        self._remove_abandoned()
        return tuple(removed)

    def _lock(self, key: str, *, timeout_s: float = -1) -> FileLock:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock", timeout=timeout_s)

    def _write(self, entry: Path, build: Callable[[Path], None]) -> None:
        with self._staging(entry.name) as staging:
            build(staging)
            _seal(staging)
            shutil.rmtree(entry, ignore_errors=True)
            staging.rename(entry)

    @contextmanager
    def _staging(self, key: str) -> Iterator[Path]:
        """Yield an empty directory on the cache's file system and remove it afterwards unless it was renamed."""
        parent = self.root / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=parent))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        """Remove what killed writers left behind, for every key that no process is writing now."""
        for key in {path.name.rpartition("-")[0] for path in (self.root / "staging").glob("*-*")}:
            with suppress(Timeout), self._lock(key, timeout_s=0):
                self._clear_staging(key)

    def _clear_staging(self, key: str) -> None:
        """Remove what a killed writer of this key left behind; the caller holds the key's lock."""
        for left in (self.root / "staging").glob(f"{key}-*"):
            shutil.rmtree(left)

    def _remove(self, entry: CacheEntry) -> bool:
        try:
            with self._lock(entry.key, timeout_s=0):
                listed = _describe(entry.path)
                if listed is None or listed.last_used != entry.last_used:
                    return False
                shutil.rmtree(entry.path)
        except Timeout:
            return False
        return True


def is_intact(entry: Path) -> bool:
    """Whether the entry exists and every file matches its seal."""
    try:
        sealed: dict[str, list[object]] = json.loads((entry / SEAL_NAME).read_text())
        return all(_fingerprint(entry / name) == facts for name, facts in sealed.items())
    except (OSError, ValueError, AttributeError):
        return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fingerprint(path: Path) -> list[object]:
    return [path.stat().st_size, sha256(path)]


def _seal(directory: Path) -> None:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    sealed = {path.relative_to(directory).as_posix(): _fingerprint(path) for path in files}
    (directory / SEAL_NAME).write_text(json.dumps(sealed, indent=2))


def _describe(path: Path) -> CacheEntry | None:
    """Describe the entry at `path`; None if another process has just removed it."""
    try:
        used = (path / SEAL_NAME).stat().st_mtime
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    except FileNotFoundError:
        return None
    model, runtime, precision = _names(path)
    return CacheEntry(
        key=path.name,
        path=path,
        model=model,
        runtime=runtime,
        precision=precision,
        bytes=size,
        last_used=datetime.fromtimestamp(used, tz=timezone.utc),
    )


def _names(path: Path) -> tuple[str, str, str]:
    try:
        exported_model = ExportedModel.read(path)
    except (OSError, ValueError, TypeError, KeyError):
        return DAMAGED, "", ""
    return exported_model.model, exported_model.runtime, exported_model.precision
