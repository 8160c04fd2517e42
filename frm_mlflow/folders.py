"""Where frm-mlflow stores files: those that can be created again, and those that cannot."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

APPLICATION = "frm-mlflow"


def cache_folder() -> Path:
    """Return the folder for what can be created again: exports, copies of runs, fetched sources.

    `$XDG_CACHE_HOME/frm-mlflow`, else `~/.cache/frm-mlflow` or the platform's equivalent. If that folder cannot
    be written, a private one in the temporary folder is used instead.
    """
    return _writable(user_cache_path(APPLICATION, appauthor=False), "cache", "XDG_CACHE_HOME")


def data_folder() -> Path:
    """Return the folder for what cannot be created again: results that no server has yet.

    `$XDG_DATA_HOME/frm-mlflow`, else `~/.local/share/frm-mlflow` or the platform's equivalent. If that folder
    cannot be written, a private one in the temporary folder is used instead.
    """
    return _writable(user_data_path(APPLICATION, appauthor=False), "data", "XDG_DATA_HOME")


@lru_cache(maxsize=16)
def _writable(folder: Path, kind: str, variable: str) -> Path:
    """Return `folder`, or a substitute that is announced once."""
    if folder.is_absolute() and _takes_files(folder):
        return folder
    try:
        substitute = Path(tempfile.gettempdir()) / f"{APPLICATION}-{_user()}" / kind
    except FileNotFoundError:  # neither TMPDIR nor any other temporary folder is writable
        return folder
    if not (_takes_files(substitute) and _is_private(substitute.parent)):
        return folder
    sys.stderr.write(f"frm-mlflow: {folder} cannot be written, so {substitute} is used: set {variable} to a folder.\n")
    return substitute


def _takes_files(folder: Path) -> bool:
    """Whether the folder exists, or can be created, and is writable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_private(folder: Path) -> bool:
    """Whether a folder, whose name others can guess, belongs to this user and is not a link."""
    status = folder.lstat()
    return not folder.is_symlink() and (not hasattr(os, "getuid") or status.st_uid == os.getuid())


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"
