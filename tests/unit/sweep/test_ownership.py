"""A running sweep is distinguished from one whose process is gone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil
import pytest

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError
from frm_mlflow.sweep.ownership import refuse_if_alive, runner_tags
from frm_mlflow.tracking.lease import is_alive


def test_this_process_is_alive_and_refused():
    tags = runner_tags()
    process = tags[schema.PROCESS.key]
    assert is_alive(process)
    with pytest.raises(ConfigError, match=f"still running here as process {os.getpid()}"):
        refuse_if_alive("abc", host=tags[schema.HOST.key], process=process)


def test_a_process_that_was_killed_is_gone_before_and_after_it_is_reaped():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = f"{child.pid} {psutil.Process(child.pid).create_time():.2f}"
    assert is_alive(process)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process)
    child.wait()
    assert not is_alive(process)


@pytest.mark.parametrize(
    "process",
    [f"{os.getpid()} 1000.00", "", "garbage", "999999999 1.0"],
    ids=["this id, another start", "empty", "garbage", "unused id"],
)
def test_another_process_with_the_same_id_or_none_at_all_is_not_alive(process: str):
    assert not is_alive(process)
    refuse_if_alive("abc", host=platform.node(), process=process)


def test_a_process_of_another_host_is_not_looked_for_here():
    refuse_if_alive("abc", host="elsewhere", process=runner_tags()[schema.PROCESS.key])
