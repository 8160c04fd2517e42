"""Where frm-mlflow stores files: those that can be created again, and those that cannot."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import MutableMapping
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


def ensure_home(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set `HOME` to a private temporary folder if this user has none, as in a container with an arbitrary user id.

    MLflow looks up the home folder when it is imported and fails without one.
    """
    try:
        Path.home()
    except RuntimeError:
        substitute = _substitute("home")
        if substitute is not None:
            environ["HOME"] = str(substitute)
            sys.stderr.write(f"frm-mlflow: you have no home folder, so {substitute} is used: set HOME to a folder.\n")


@lru_cache(maxsize=16)
def _writable(folder: Path, kind: str, variable: str) -> Path:
    """Return `folder`, or a substitute that is announced once."""
    if folder.is_absolute() and _takes_files(folder):
        return folder
    substitute = _substitute(kind)
    if substitute is None:
        return folder
    sys.stderr.write(f"frm-mlflow: {folder} cannot be written, so {substitute} is used: set {variable} to a folder.\n")
    return substitute


def _substitute(kind: str) -> Path | None:
    """Return a private folder in the temporary folder, or None if there is no such folder."""
    try:
        folder = Path(tempfile.gettempdir()) / f"{APPLICATION}-{_user()}" / kind
    except FileNotFoundError:  # neither TMPDIR nor any other temporary folder is writable
        return None
    return folder if _takes_files(folder) and _is_private(folder.parent) else None


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
