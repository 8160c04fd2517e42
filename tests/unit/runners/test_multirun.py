"""The code around a Hydra application."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import hydra
import pytest

from frm_mlflow.multirun import scope


@pytest.mark.parametrize("words", [[], ["hydra.sweep.dir=own"]])
def test_multirun_yaml_lies_where_only_its_user_reads_it_until_the_command_ends(words: list[str]) -> None:
    with scope(), hydra.initialize_config_module("frm_mlflow.conf", version_base="1.3"):
        folder = Path(hydra.compose("bench", words, return_hydra_config=True).hydra.sweep.dir)
        if words:
            assert folder == Path("own")
        else:
            assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IRWXU
    assert not folder.exists()


def test_hydras_options_may_follow_the_overrides() -> None:
    command = [Path(sys.executable).parent / "frm-mlflow", "bench", "model=resnet18", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resnet18" in done.stdout
