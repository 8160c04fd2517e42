"""Fetch one published wheel with pip, as a file: nothing of it is installed, built or run."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.folders import cache_folder

PINNED: Mapping[str, str] = {"qai_hub_models": "0.65.0"}
"""Releases whose layout and counts the tests have seen; `source.version` takes another."""
TIMEOUT_S = 300

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def _pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def wheel(package: str, version: str, *, cache: Path | None = None, run: Run = _pip) -> Path:
    """Return the wheel of `package` at `version`, from the cache or through `pip download`.

    Raises
    ------
    ConfigError
        Where the version is not one, or pip is not installed.
    ImportFileError
        Where pip cannot get it; carries pip's last line and the way around.
    """
    if not re.fullmatch(r"\d+(\.\d+)*([a-z.]+\d*)?", version):
        raise ConfigError(f"source.version must be a release like {PINNED.get(package, '1.0')}, got '{version}'")
    folder = cache or cache_folder() / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    cached = sorted(folder.glob(f"{package}-{version}-*.whl"))
    return cached[0] if cached else _download(package, version, folder, run)


def _download(package: str, version: str, folder: Path, run: Run) -> Path:
    """Download into a folder of its own and move the file in one step: a broken download leaves nothing."""
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        target = ["--no-deps", "--only-binary=:all:", "--dest", partial, f"{package}=={version}"]
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
        f"cannot fetch {package} {version}: {reason}. "
        f"Get it elsewhere (`pip download --no-deps {package}=={version}`) and give path=FILE.whl."
    )
