"""Processes start with a path and an environment that are constructed, not inherited."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from frm_mlflow.worker import start

PROBE = "import json, os, sys; print(json.dumps([sys.path, sys.argv[1:], dict(os.environ)]))\n"
NOTE = "import pathlib; pathlib.Path({!r}).write_text('ran')\n"


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def probed(tmp_path, monkeypatch, entries, environ=None):
    (tmp_path / "probe_me.py").write_text(PROBE)
    monkeypatch.setattr(sys, "path", [*map(str, entries), str(tmp_path), *sys.path])
    command = start.python_command("probe_me", "one", "two")
    done = subprocess.check_output(command, env=start.environment(environ or {}, {"EXTRA": "1"}), text=True)
    return json.loads(done)


def test_the_module_path_is_handed_over_in_its_order(tmp_path, monkeypatch):
    first, second = tmp_path / "b", tmp_path / "a"
    path, arguments, environ = probed(tmp_path, monkeypatch, [first, second])
    assert path[:3] == [str(first), str(second), str(tmp_path)]
    assert arguments == ["one", "two"]
    assert environ["EXTRA"] == "1"


@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize", "json", "runpy", "torch"])
def test_no_file_of_a_model_is_run_for_its_name(tmp_path, monkeypatch, canary, name):
    model = tmp_path / "model"
    code = model / "code"
    code.mkdir(parents=True)
    (model / "MLmodel").write_text("flavors: {}\n")
    (code / f"{name}.py").write_text(NOTE.format(str(canary)))
    monkeypatch.chdir(code)
    path, _, _ = probed(tmp_path, monkeypatch, [code, ""], {"PYTHONPATH": str(code)})
    assert not canary.exists()
    assert not any(entry.startswith(str(model)) for entry in path)


def test_a_sitecustomize_in_a_users_folder_is_not_run(tmp_path, monkeypatch, canary):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NOTE.format(str(canary)))
    path, _, _ = probed(tmp_path, monkeypatch, [folder], {"PYTHONPATH": str(folder)})
    assert str(folder) in path
    assert not canary.exists()


def test_the_working_directory_stays_on_the_path_of_who_had_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start.module_path(["", "/nonesuch"]) == [str(tmp_path), "/nonesuch"]


def test_variables_that_make_python_run_something_are_dropped():
    kept = start.environment(
        {"PATH": "/bin", "PYTHONPATH": "/x", "PYTHONSTARTUP": "/y", "PYTHONWARNINGS": "z", "PYTHONHASHSEED": "0"}, {}
    )
    assert kept == {"PATH": "/bin", "PYTHONHASHSEED": "0"}
