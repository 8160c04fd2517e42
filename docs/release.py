"""A release as one act: version, changelog heading, sdist, wheel, commit and tag. `make release VERSION=1.2.3`."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
VERSION_FILE, CHANGELOG = Path("frm_mlflow/__init__.py"), Path("CHANGELOG.md")
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_UNRELEASED = "## [Unreleased]\n"


def with_version(module: str, version: str) -> str:
    """Return the module's text with another `__version__`."""
    changed, times = _VERSION.subn(f'__version__ = "{version}"', module)
    if times != 1:
        raise SystemExit(f"{VERSION_FILE} must set __version__ once, it does so {times} times")
    return changed


def with_heading(changelog: str, version: str, day: datetime.date) -> str:
    """Return the changelog with a heading for `version` above what was unreleased."""
    before, unreleased, after = changelog.partition(_UNRELEASED)
    entries = re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0]
    if not unreleased or not entries.strip():
        raise SystemExit(f"{CHANGELOG} has nothing under [Unreleased]: write what changed first")
    if f"## [{version}]" in changelog:
        raise SystemExit(f"{CHANGELOG} already has a heading for {version}: choose another VERSION")
    return f"{before}{_UNRELEASED}\n## [{version}] - {day.isoformat()}\n{after}"


def release(version: str, folder: Path) -> None:
    """Write version and heading in the checkout `folder`, build into `dist/`, commit and tag."""
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise SystemExit(f"VERSION must look like 1.2.3 or 1.2.3rc1, got '{version}'")
    if _git(folder, "status", "--porcelain"):
        raise SystemExit("the work tree has changes: commit them first")
    if _git(folder, "tag", "--list", f"v{version}"):
        raise SystemExit(f"the tag v{version} exists already: choose another VERSION")
    module, changelog = folder / VERSION_FILE, folder / CHANGELOG
    today = datetime.datetime.now(datetime.timezone.utc).date()
    heading = with_heading(changelog.read_text(encoding="utf-8"), version, today)
    module.write_text(with_version(module.read_text(encoding="utf-8"), version), encoding="utf-8")
    changelog.write_text(heading, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder], check=True)
    _git(folder, "commit", "--all", "--message", f"Release {version}")
    _git(folder, "tag", "--annotate", f"v{version}", "--message", f"Release {version}")
    sys.stdout.write(f"dist/ holds {version}. `git push origin HEAD v{version}` publishes it.\n")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    release(sys.argv[1] if len(sys.argv) > 1 else "", CHECKOUT)
