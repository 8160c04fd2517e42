"""`make release` in a small separate checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from docs.release import release

CHANGELOG = "# Changelog\n\n## [Unreleased]\n### Fixed\n- A thing.\n\n## [0.1.0] - 2026-01-01\n- First.\n"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.check_output(["git", *identity, *arguments], cwd=folder, text=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@example.org")
    package = tmp_path / "frm_mlflow"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / ".gitignore").write_text("dist/\n*.egg-info/\nbuild/\n")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "frm-mlflow"\ndynamic = ["version"]\n'
        '[tool.setuptools]\npackages = ["frm_mlflow"]\n'
        '[tool.setuptools.dynamic]\nversion = { attr = "frm_mlflow.__version__" }\n'
    )
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "start")
    return tmp_path


def test_release_writes_version_heading_wheel_and_tag(checkout: Path) -> None:
    release("0.2.0", checkout)

    assert '"0.2.0"' in (checkout / "frm_mlflow" / "__init__.py").read_text()
    changelog = (checkout / "CHANGELOG.md").read_text()
    unreleased, released = changelog.split("## [0.2.0]")
    assert unreleased.endswith("## [Unreleased]\n\n")
    assert "- A thing." in released.split("## [0.1.0]")[0]
    assert {file.name for file in (checkout / "dist").iterdir()} == {
        "frm_mlflow-0.2.0.tar.gz",
        "frm_mlflow-0.2.0-py3-none-any.whl",
    }
    assert git(checkout, "tag", "--points-at", "HEAD").split() == ["v0.2.0"]
    assert git(checkout, "status", "--porcelain") == ""


@pytest.mark.parametrize("version", ["", "1", "v1.2.3", "1.2.3; rm"])
def test_release_refuses_what_is_not_a_version(checkout: Path, version: str) -> None:
    with pytest.raises(SystemExit, match="VERSION must look like"):
        release(version, checkout)


def test_release_refuses_changes_and_an_empty_changelog(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n- First.\n")
    with pytest.raises(SystemExit, match="commit them first"):
        release("0.2.0", checkout)
    git(checkout, "commit", "--quiet", "--all", "--message", "empty")
    with pytest.raises(SystemExit, match="nothing under"):
        release("0.2.0", checkout)
