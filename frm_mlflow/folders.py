"""Where frm-mlflow keeps files of its own: what can be made again, and what cannot."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path, user_data_path

APPLICATION = "frm-mlflow"


def cache_folder() -> Path:
    """Return the folder of what can be made again: exports, copies of runs, fetched sources.

    `$XDG_CACHE_HOME/frm-mlflow`, else `~/.cache/frm-mlflow` or what the platform has instead.
    """
    return user_cache_path(APPLICATION, appauthor=False)


def data_folder() -> Path:
    """Return the folder of what cannot be made again: results that no server has yet.

    `$XDG_DATA_HOME/frm-mlflow`, else `~/.local/share/frm-mlflow` or what the platform has instead.
    """
    return user_data_path(APPLICATION, appauthor=False)
