"""Download one published wheel with pip, as a file: nothing in it is installed, built or run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.folders import cache_folder

PINNED: Mapping[str, str] = {"qai_hub_models": "0.65.0"}
"""Releases whose layout and counts are tested; `source.version` selects another one."""
TIMEOUT_S = 300

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def pip_command() -> list[str] | None:
    """Return the command that runs pip, or None if this machine has no pip.

    An environment created by uv has no pip. Python itself includes pip as a wheel for `python -m ensurepip`,
    and that file runs without being installed.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if (bundled := _bundled_pip()) is not None:
        return [sys.executable, str(bundled / "pip")]
    if (elsewhere := shutil.which("pip") or shutil.which("pip3")) is not None:
        return [elsewhere]
    return [uvx, "pip"] if (uvx := shutil.which("uvx")) is not None else None


def _bundled_pip() -> Path | None:
    """Return the newest pip wheel bundled with this Python; Debian moves it to a separate folder."""
    spec = importlib.util.find_spec("ensurepip")
    folders = [Path(place) / "_bundled" for place in (spec.submodule_search_locations or [] if spec else [])]
    if distribution := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(distribution))
    return max((file for folder in folders for file in folder.glob("pip-*.whl")), default=None)


def _pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = pip_command()
    if command is None:
        return subprocess.CompletedProcess(arguments, 1, "", "error: no pip, ensurepip or uvx on this machine")
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    environment = {**({"PIP_INDEX_URL": index} if index else {}), **os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def wheel(package: str, version: str, *, cache: Path | None = None, run: Run = _pip) -> Path:
    """Return the wheel of `package` at `version`, from the cache or through `pip download`.

    Raises
    ------
    ConfigError
        If the version is not a release number.
    ImportFileError
        If pip is missing or cannot download it; the message has pip's error line and the remedy.
    """
    if not re.fullmatch(r"\d+(\.\d+)*([a-z.]+\d*)?", version):
        raise ConfigError(f"source.version must be a release like {PINNED.get(package, '1.0')}, got '{version}'")
    folder = cache or cache_folder() / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    cached = sorted(folder.glob(f"{package}-{version}-*.whl"))
    return cached[0] if cached else _download(package, version, folder, run)


def _download(package: str, version: str, folder: Path, run: Run) -> Path:
    """Download to a temporary folder and move the file in one step: a failed download leaves nothing behind."""
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        target = [
            "--no-deps",
            "--only-binary=:all:",
            "--ignore-requires-python",
            "--dest",
            partial,
            f"{package}=={version}",
        ]
        try:
            done = run(["download", "--quiet", *target])
        except subprocess.TimeoutExpired as error:
            raise ImportFileError(_remedy(package, version, f"pip took longer than {error.timeout:.0f} s")) from error
        wheels = sorted(Path(partial).glob("*.whl"))
        if done.returncode or not wheels:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            reason = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
            raise ImportFileError(_remedy(package, version, reason))
        return wheels[0].replace(folder / wheels[0].name)


def _remedy(package: str, version: str, reason: str) -> str:
    return (
        f"Cannot download {package} {version}: {reason}. "
        f"Download it on another machine (`pip download --no-deps {package}=={version}`) and set path=FILE.whl."
    )
