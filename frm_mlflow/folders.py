"""Where frm-mlflow keeps files: what can be made again, and what cannot."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

APPLICATION = "frm-mlflow"


def cache_folder() -> Path:
    """Return the folder of what can be made again: exports, copies of runs, fetched sources.

    `$XDG_CACHE_HOME/frm-mlflow`, else `~/.cache/frm-mlflow` or what the platform has instead. If that folder cannot
    be written, a private one in the temporary folder takes its place.
    """
    return _writable(user_cache_path(APPLICATION, appauthor=False), "cache", "XDG_CACHE_HOME")


def data_folder() -> Path:
    """Return the folder of what cannot be made again: results that no server has yet.

    `$XDG_DATA_HOME/frm-mlflow`, else `~/.local/share/frm-mlflow` or what the platform has instead. If that folder
    cannot be written, a private one in the temporary folder takes its place.
    """
    return _writable(user_data_path(APPLICATION, appauthor=False), "data", "XDG_DATA_HOME")


@lru_cache(maxsize=16)
def _writable(folder: Path, kind: str, variable: str) -> Path:
    """Return `folder`, or a substitute that is announced once."""
    if folder.is_absolute() and _takes_files(folder):
        return folder
    try:
        substitute = Path(tempfile.gettempdir()) / f"{APPLICATION}-{_user()}" / kind
    except FileNotFoundError:  # neither TMPDIR nor any other temporary folder takes a file
        return folder
    if not (_takes_files(substitute) and _is_private(substitute.parent)):
        return folder
    sys.stderr.write(f"frm-mlflow: {folder} cannot be written, so {substitute} is used: set {variable} to a folder.\n")
    return substitute


def _takes_files(folder: Path) -> bool:
    """Whether the folder is there, or can be made, and takes files."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_private(folder: Path) -> bool:
    """Whether a folder with a name that others can guess is this user's, and no link."""
    found = folder.lstat()
    return not folder.is_symlink() and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"
