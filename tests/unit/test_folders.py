"""Where files go if the home or the temporary folder is not writable."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from frm_mlflow import folders
from frm_mlflow.errors import ConfigError
from frm_mlflow.exits import exit_code, is_explained, sentence


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folders._writable.cache_clear()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    yield
    folders._writable.cache_clear()


def test_a_home_that_can_be_written_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert folders.cache_folder() == tmp_path / "cache" / "frm-mlflow"


@pytest.mark.parametrize("where", [folders.cache_folder, folders.data_folder])
def test_a_home_that_takes_no_files_gets_a_substitute(
    where: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file in place of the folder")
    for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(blocked))
    found = where()
    assert found.is_relative_to(tmp_path / "tmp")
    assert found.is_dir()
    assert where() == found
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 1
    assert "XDG_" in said


def test_a_home_that_is_not_known_gets_a_substitute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "user_cache_path", lambda *_, **__: Path("~/.cache/frm-mlflow"))
    assert folders.cache_folder().is_relative_to(tmp_path / "tmp")
    assert not (tmp_path / "~").exists()
    assert "cannot be written" in capsys.readouterr().err


def test_a_guessable_folder_of_another_user_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked, elsewhere = tmp_path / "blocked", tmp_path / "elsewhere"
    blocked.touch()
    elsewhere.mkdir()
    (tmp_path / "tmp" / f"frm-mlflow-{os.getuid()}").symlink_to(elsewhere)
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert folders.cache_folder() == blocked / "frm-mlflow"


def test_a_user_without_a_home_gets_a_private_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ: dict[str, str] = {}
    folders.ensure_home(environ)
    assert environ == {}, "this user has a home folder"

    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    folders.ensure_home(environ)
    home = Path(environ["HOME"])
    assert home.is_relative_to(tmp_path / "tmp")
    assert home.stat().st_mode & 0o077 == 0
    assert "set HOME" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_an_error_of_a_folder_is_a_sentence_with_the_settings(number: int) -> None:
    error = OSError(number, os.strerror(number), "/full/x")
    assert is_explained(error)
    assert exit_code(error) == 1
    assert "/full/x" in sentence(error)
    assert "TMPDIR" in sentence(error)


def test_faults_of_the_program_keep_their_traceback() -> None:
    assert not is_explained(KeyError("x"))
    assert not is_explained(OSError(errno.EBADF, "x"))
    assert is_explained(ConfigError("x"))


HANGING = """
import os, signal, sys, tempfile
from frm_mlflow.tracking.signals import signals_as_interrupt
try:
    with tempfile.TemporaryDirectory() as folder, signals_as_interrupt():
        try:
            print(folder, flush=True)
            signal.pause()
        finally:
            print("closing", flush=True)
            os.kill(os.getpid(), signal.SIGHUP)  # a shell sends its own after the terminal's
            print("closed", flush=True)
except KeyboardInterrupt:
    print(os.path.exists(folder), flush=True)
    sys.exit(130)
"""


@pytest.mark.parametrize("number", ["SIGHUP", "SIGTERM"])
def test_a_hang_up_ends_a_block_as_ctrl_c_does(number: str) -> None:

    process = subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = process.stdout.readline().strip()
    assert Path(folder).is_dir()
    process.send_signal(getattr(signal, number))
    out, _ = process.communicate(timeout=60)
    assert out.split() == ["closing", "closed", "False"]
    assert process.returncode == 130


def test_what_nohup_ignores_stays_ignored() -> None:
    program = "import os, signal\nfrom frm_mlflow.tracking.signals import signals_as_interrupt\n"
    program += "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    program += "with signals_as_interrupt():\n    os.kill(os.getpid(), signal.SIGHUP)\nprint('went on')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "went on\n"
