"""The device's folder of copied models: each is stored under the hash of its content, completely or not at all.

Both sides use `content_key`: the controller to name what it sends, the device to verify what it received.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

EXPORTED_MODELS = "exported_models"
SCRATCH = "scratch"
_INCOMING = ".incoming-"
_CHUNK = 2**20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class StoreError(Exception):
    """Raised if something cannot be stored; `kind` is disk_full, damaged or denied."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def content_key(directory: Path) -> str:
    """Return the hash of a directory's file names and contents; its location and timestamps are ignored."""
    digest = hashlib.sha256()
    for path in _files(directory):
        digest.update(f"{path.relative_to(directory).as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def find(folder: Path, key: str) -> Path | None:
    """Return the path of the content `key`, verified and marked as used; a damaged copy is removed."""
    place = folder / EXPORTED_MODELS / key
    if not place.is_dir():
        return None
    if content_key(place) != key:
        shutil.rmtree(place)
        return None
    os.utime(place)
    return place


def receive(stream: IO[bytes], folder: Path, key: str) -> Path:
    """Unpack a tar stream under a temporary name, verify it, and rename it.

    Raises
    ------
    StoreError
        If there is no space or no permission, or the content is not what was sent; nothing is left behind then.
    """
    incoming = folder / EXPORTED_MODELS / f"{_INCOMING}{os.getpid()}"
    try:
        incoming.mkdir(parents=True)
        _unpack(stream, incoming)
        if content_key(incoming) != key:
            raise StoreError("what arrived is not what was sent", kind="damaged")
        return _named(incoming, folder / EXPORTED_MODELS / key)
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"the copy was cut off: {error}", kind="damaged") from error
    except OSError as error:
        raise as_store_error(error, folder) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def as_store_error(error: OSError, folder: Path) -> StoreError:
    """Return the store error for an error of the operating system."""
    if error.errno in _NO_ROOM:
        return StoreError(f"no room is left in {folder}", kind="disk_full")
    return StoreError(f"{folder}: {error}", kind="denied")


def prune(folder: Path, *, older_than_s: float, now: float) -> tuple[list[str], int]:
    """Remove copies not used for `older_than_s`, and old programs; return their names and total bytes."""
    removed, size = [], 0
    candidates = [*(folder / EXPORTED_MODELS).glob("*"), *folder.glob("worker-*.pyz")]
    for place in sorted(candidates):
        if place.name.startswith(".") or now - place.stat().st_mtime < older_than_s:
            continue
        size += sum(path.stat().st_size for path in ([place] if place.is_file() else _files(place)))
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        removed.append(place.name)
    return removed, size


def remove_leftovers(folder: Path) -> None:
    """Remove leftovers of killed copies and workers; those of running processes stay."""
    leftovers = [*(folder / EXPORTED_MODELS).glob(f"{_INCOMING}*"), *(folder / SCRATCH).glob("*")]
    for place in leftovers:
        owner = place.name.removeprefix(_INCOMING)
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(place, ignore_errors=True)


def _named(incoming: Path, place: Path) -> Path:
    try:
        incoming.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another process copied the same content first: the same files under the same name.
    return place


def _unpack(stream: IO[bytes], directory: Path) -> None:
    """Write the regular files of a tar stream; anything that points outside the directory is rejected."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            source = archive.extractfile(member) if member.isreg() else None
            if source is None or name.is_absolute() or ".." in name.parts:
                raise StoreError(f"'{member.name}' is not a file below the model's folder", kind="damaged")
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)


def _files(directory: Path) -> Iterator[Path]:
    yield from sorted(path for path in directory.rglob("*") if path.is_file())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
