"""Another MLflow on top of this environment's packages: a virtual environment that shadows MLflow and its pins.

    python overlay.py

run inside that environment, prints the requirements of MLflow that are not met yet.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

MLFLOW = ("mlflow", "mlflow-skinny", "mlflow-tracing")
MOST_ROUNDS = 5
"""Maximum number of rounds, since a package in the overlay may pin others."""


def oldest_supported() -> str:
    """Return the lower bound for MLflow in the package's own metadata."""
    (bound,) = (r for line in metadata.requires("frm-mlflow") or () if (r := Requirement(line)).name == "mlflow")
    (version,) = (spec.version for spec in bound.specifier if spec.operator == ">=")
    return version


def overlay(folder: Path, version: str) -> Path:
    """Create the environment in `folder` and return its Python.

    torch and everything else that MLflow does not pin comes from the environment that runs this.
    """
    python = folder / "bin" / "python"
    _uv("venv", "--python", sys.executable, str(folder))
    own = Path(sysconfig.get_path("purelib"))
    inner = folder / own.relative_to(sys.prefix)
    (inner / "zz_underneath.pth").write_text(f"import site; site.addsitedir({str(own)!r})\n", encoding="utf-8")
    missing = [f"{name}=={version}" for name in MLFLOW]
    for _ in range(MOST_ROUNDS):
        _uv("pip", "install", "--python", str(python), "--no-deps", *missing)
        missing = subprocess.check_output([python, __file__], text=True).split()
        if not missing:
            return python
    raise RuntimeError(f"MLflow {version} still needs {', '.join(missing)}")


def unmet() -> set[str]:
    """Return the requirements of MLflow and its dependencies that this environment does not meet."""
    missing, seen, names = set(), set(), ["mlflow"]
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            if _is_met(requirement):
                names.append(requirement.name)
            else:
                missing.add(f"{requirement.name}{requirement.specifier}")
    return missing


def _is_met(requirement: Requirement) -> bool:
    try:
        return metadata.version(requirement.name) in requirement.specifier
    except metadata.PackageNotFoundError:
        return False


def _uv(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), *arguments, "--quiet"], check=True)


if __name__ == "__main__":
    print(*sorted(unmet()), sep="\n")
