"""Starts Python processes of this program with an environment and a module path that are built here.

A logged model can include a `code` folder, which MLflow adds to `sys.path`. Python runs any `sitecustomize.py` or
`usercustomize.py` that it finds on `PYTHONPATH`. Therefore our processes inherit neither.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

MODEL_FILE = "MLmodel"
"""File that MLflow writes into the folder of each logged model."""
_PREFIX = "PYTHON"
_KEPT = frozenset(
    (
        *("PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING"),
        *("PYTHONUNBUFFERED", "PYTHONFAULTHANDLER", "PYTHONDONTWRITEBYTECODE", "PYTHONMALLOC"),
    )
)
"""Python's environment variables that neither import nor run anything."""
_BOOT = (
    "import sys; del sys.path[0]; import json, runpy; name, path = sys.argv[1:3]; "
    "sys.argv[:] = sys.argv[2:]; sys.path[:] = json.loads(path); "
    "runpy.run_module(name, run_name='__main__', alter_sys=True)"
)
"""First lines of such a process. The path is set after Python has started, so no file on it is run by its name."""


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs `module` like `python -m`, with this process's module path."""
    return [sys.executable, "-c", _BOOT, module, json.dumps(module_path(sys.path)), *arguments]


def module_path(entries: Sequence[str]) -> list[str]:
    """Return the module path without entries added by logged models, each as an absolute path."""
    absolute = [str(Path(entry).absolute()) for entry in entries]  # "" is the working directory
    return [entry for entry in dict.fromkeys(absolute) if not _is_of_a_model(Path(entry))]


def environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` plus `extra`, without variables that make Python import or run a file."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_PREFIX) or name in _KEPT}
    return kept | dict(extra)


def _is_of_a_model(folder: Path) -> bool:
    return any((parent / MODEL_FILE).is_file() for parent in (folder, *folder.parents))
