"""The worker as a single file to copy: a zipapp whose bytes depend only on its sources."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the import path that Python 3.10 has and 3.14 does not
    from importlib.abc import Traversable

_PACKAGE = "frm_worker"
_MAIN = f"import sys\nfrom {_PACKAGE}.__main__ import main\nsys.exit(main())\n"
_EARLIEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class WorkerArchive:
    """The bytes of the zipapp and their SHA-256."""

    content: bytes
    sha256: str

    @property
    def name(self) -> str:
        """File name on a device; versions are stored next to each other."""
        return f"worker-{self.sha256[:16]}.pyz"


@cache
def worker_archive() -> WorkerArchive:
    """Return the worker package as a zipapp.

    `zipapp.create_archive` stores the sources' times in the local time zone. Here the bytes contain
    neither, so the hash identifies the version.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _EARLIEST), _MAIN)
        for name, source in sorted(_sources(files("frm_mlflow.worker"), _PACKAGE)):
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST), source)
    content = buffer.getvalue()
    return WorkerArchive(content, hashlib.sha256(content).hexdigest())


def _sources(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    sources: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            sources += _sources(entry, f"{prefix}/{entry.name}")
        elif entry.name.endswith(".py"):
            sources.append((f"{prefix}/{entry.name}", entry.read_bytes()))
    return sources
