"""Archives with paths that lead outside, and the one wheel that is downloaded."""

import importlib.util
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from frm_mlflow.config import ReadLimits, SourceConfig
from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.importers import fetch, read


def archive(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in members.items():
            target.writestr(name, text)
    return path


@pytest.mark.parametrize(
    "name",
    ["../../evil/models/x/perf.yaml", "/etc/models/x/perf.yaml", "C:/models/x/perf.yaml", "..\\x\\models/x/perf.yaml"],
)
def test_a_member_that_points_out_of_its_archive_is_refused(tmp_path: Path, name: str) -> None:
    wheel = archive(tmp_path / "evil.whl", **{name: "precisions: {}"})

    with pytest.raises(ImportFileError, match=r"evil\.whl: member .* points out of the archive"):
        read("aihub", wheel)

    assert [file.name for file in tmp_path.iterdir()] == ["evil.whl"]


def test_a_truncated_wheel_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.whl", **{"models/x/perf.yaml": "precisions: {}"})
    (tmp_path / "cut.whl").write_bytes(whole.read_bytes()[:-30])

    with pytest.raises(ImportFileError, match=r"cut\.whl: is neither a folder nor a complete zip"):
        read("aihub", tmp_path / "cut.whl")


def test_a_member_damaged_inside_is_refused(tmp_path: Path) -> None:
    content = "precisions: {} # " + " ".join(str(i * i * 7919 % 100_003) for i in range(5000))
    wheel = archive(
        tmp_path / "bad.whl",
        **{"models/x/perf.yaml": content, "models/x/manifest.yaml": "use_case: Image Classification"},
    )
    damaged = bytearray(wheel.read_bytes())
    damaged[200:260] = bytes(60)
    wheel.write_bytes(bytes(damaged))

    with pytest.raises(ImportFileError, match=r"models/x/perf\.yaml: cannot be unpacked"):
        read("aihub", wheel)


def test_a_member_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    manifest = "use_case: Image Classification"
    wheel = archive(tmp_path / "bomb.whl", **{"models/x/perf.yaml": " " * 2**21, "models/x/manifest.yaml": manifest})

    with pytest.raises(ImportFileError, match=r"perf\.yaml: is larger than 1 MiB"):
        read("aihub", wheel, SourceConfig(name="aihub", limits=ReadLimits(max_mib=1)))


def test_links_in_a_checkout_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("precisions: {}")
    folder = tmp_path / "tree" / "models" / "x"
    folder.mkdir(parents=True)
    (folder / "perf.yaml").symlink_to(secret)

    with pytest.raises(ImportFileError, match=r"holds no models/NAME/perf\.yaml"):
        read("aihub", tmp_path / "tree")


class FakePip:
    """Writes a wheel where pip would, or fails like pip does."""

    def __init__(self, *, error: str = "") -> None:
        self.error = error
        self.calls: list[Sequence[str]] = []

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.calls.append(arguments)
        if self.error:
            return subprocess.CompletedProcess(arguments, 1, stdout="", stderr=self.error)
        target = Path(arguments[arguments.index("--dest") + 1])
        archive(target / "qai_hub_models-0.65.0-py3-none-any.whl", x="1")
        return subprocess.CompletedProcess(arguments, 0, stdout="", stderr="")


def test_a_wheel_is_fetched_once_and_never_built(tmp_path: Path) -> None:
    pip = FakePip()

    first = fetch.wheel("qai_hub_models", "0.65.0", cache=tmp_path, run=pip)
    second = fetch.wheel("qai_hub_models", "0.65.0", cache=tmp_path, run=pip)

    assert first == second == tmp_path / "qai_hub_models-0.65.0-py3-none-any.whl"
    assert len(pip.calls) == 1
    assert {"download", "--no-deps", "--only-binary=:all:", "qai_hub_models==0.65.0"} <= set(pip.calls[0])
    assert list(tmp_path.iterdir()) == [first], "no half a download stays behind"


def test_what_pip_cannot_get_ends_with_its_reason_and_the_way_around(tmp_path: Path) -> None:
    pip = FakePip(error="WARNING: x\nERROR: No matching distribution found for qai_hub_models==9.9\n")

    with pytest.raises(ImportFileError, match=r"No matching distribution.*pip download --no-deps.*path=FILE\.whl"):
        fetch.wheel("qai_hub_models", "9.9", cache=tmp_path, run=pip)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["latest", "1.0; rm -rf /", "--index-url=x", "../1.0", ""])
def test_a_version_is_a_version(tmp_path: Path, version: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.version"):
        fetch.wheel("qai_hub_models", version, cache=tmp_path, run=FakePip())


def without_pip(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Hide these modules from Python."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in missing else find_spec(name, *rest)
    )


def test_pip_runs_without_being_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ensurepip", reason="this Python was built without ensurepip")
    without_pip(monkeypatch, "pip")

    command = fetch.pip_command()

    assert command is not None
    assert command[0] == sys.executable
    version = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert re.match(r"pip \d+", version.stdout), version.stderr


def test_machine_without_any_pip_gets_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pip(monkeypatch, "pip", "ensurepip")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)

    with pytest.raises(ImportFileError, match=r"no pip, ensurepip or uvx.*path=FILE\.whl"):
        fetch.wheel("qai_hub_models", "0.65.0", cache=tmp_path)
