"""The wheel contains exactly what is in the source tree."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import frm_mlflow
from tests.wheel import CHECKOUT, built

SHIPPED = {
    "frm_mlflow": "frm_mlflow",
    "conf": "frm_mlflow/conf",
    "runners": "frm_mlflow/runners",
    "hydra_plugins": "hydra_plugins",
}
"""Folder in the checkout → folder in the wheel."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def files_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files_in_tree() -> set[str]:
    return {
        f"{inside}/{path.relative_to(CHECKOUT / folder).as_posix()}"
        for folder, inside in SHIPPED.items()
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_every_module_and_data_file(files_in_wheel: set[str]) -> None:
    assert sorted(files_in_tree() - files_in_wheel) == []


def test_wheel_holds_nothing_else(files_in_wheel: set[str]) -> None:
    assert sorted(files_in_wheel - files_in_tree()) == []


def test_every_folder_with_code_is_a_package() -> None:
    """A folder without `__init__.py` is not in the wheel, but can be imported in the checkout."""
    folders = {path.parent for top in ("frm_mlflow", "runners", "conf") for path in (CHECKOUT / top).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_wheel_has_the_version_of_the_package(wheel: Path) -> None:
    assert wheel.name.startswith(f"frm_mlflow-{frm_mlflow.__version__}-")
