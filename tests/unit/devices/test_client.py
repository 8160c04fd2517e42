"""Every way in which a worker can fail, with small programs instead of real workers."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from frm_mlflow.devices.client import Launch, WorkerClient
from frm_mlflow.errors import MissingExtraError, WorkerError

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["cmd"] == "close":
        break
    print(json.dumps({"ok": True, "got": request}), flush=True)
"""


@contextmanager
def running(program: str, **launch) -> Iterator[WorkerClient]:
    command = (sys.executable, "-c", program)
    with WorkerClient(Launch(command=command, environment=dict(os.environ), **launch), name="tester") as client:
        yield client
    assert_gone(client.pid)


def assert_gone(pid: int) -> None:
    assert not psutil.pid_exists(pid), "a worker was left behind"


def fails(program: str, *, timeout_s: float = 20.0, **launch) -> str:
    with running(program, **launch) as client, pytest.raises(WorkerError) as caught:
        client.request("load", timeout_s=timeout_s)
    return str(caught.value)


def test_requests_are_answered_in_turn():
    with running(ECHO) as client:
        first = client.request("echo", timeout_s=20, runtime="torch")
        assert first["got"] == {"cmd": "echo", "runtime": "torch"}
        assert client.request("again", timeout_s=20)["got"] == {"cmd": "again"}


def test_a_crash_is_told_with_its_exit_code_and_last_output():
    message = fails("import sys; sys.stdin.readline(); print('the disk is gone', file=sys.stderr); sys.exit(7)")
    assert "exit code 7" in message
    assert "the disk is gone" in message
    assert "at 'load'" in message


def test_a_crash_before_the_request_is_told_too():
    with running("raise SystemExit('no such model')") as client:
        time.sleep(1.0)
        with pytest.raises(WorkerError, match="no such model"):
            client.request("load", timeout_s=20)


def test_a_segmentation_fault_is_told_by_its_signal():
    message = fails("import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGSEGV)")
    assert "SIGSEGV" in message


def test_a_kill_is_told_as_what_the_system_does_without_memory():
    message = fails("import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)")
    assert "SIGKILL" in message
    assert "memory" in message


def test_a_hang_ends_at_the_time_limit():
    started = time.monotonic()
    message = fails("import time; time.sleep(600)", timeout_s=0.5)
    assert "did not respond within 0.5 s" in message
    assert time.monotonic() - started < 30


def test_garbage_is_shown():
    message = fails("print('Segmentation voilation, please reboot', flush=True); import time; time.sleep(600)")
    assert "garbage" in message
    assert "please reboot" in message


@pytest.mark.parametrize("line", ["[1, 2]", '"ok"', "{}", "null"])
def test_json_that_is_no_reply_is_garbage(line: str):
    assert "garbage" in fails(f"print({line!r}, flush=True); import time; time.sleep(600)")


def test_a_leak_is_ended_at_the_memory_limit():
    leak = "import sys; sys.stdin.readline(); hoard = []\nwhile True: hoard.append(b'x' * 2**22)"
    message = fails(leak, memory_limit_mib=200)
    assert "out of memory" in message
    assert "limit is 200 MiB" in message


def test_an_error_that_the_worker_reports_carries_its_output():
    program = (
        "import json, sys; sys.stdin.readline(); print('Traceback: deep inside', file=sys.stderr, flush=True)\n"
        "print(json.dumps({'ok': False, 'error': 'no kernel for bf16', 'kind': 'runtime'}), flush=True)\n"
        "sys.stdin.readline()"
    )
    message = fails(program)
    assert "no kernel for bf16" in message
    assert "deep inside" in message


@pytest.mark.parametrize(
    ("package", "extra"), [("openvino", "openvino"), ("ai_edge_litert", "litert"), ("torch", "bench")]
)
def test_a_runtime_that_is_not_installed_names_the_extra(package: str, extra: str):
    program = (
        "import json, sys; sys.stdin.readline()\n"
        f"print(json.dumps(dict(ok=False, error='x', kind='missing_package', package='{package}')), flush=True)\n"
        "sys.stdin.readline()"
    )
    with running(program) as client, pytest.raises(MissingExtraError) as caught:
        client.request("load", timeout_s=20)
    assert f"frm-mlflow[{extra}]" in str(caught.value)


def test_a_worker_that_ignores_close_is_killed_with_its_children():
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        'print(\'{"ok": true, "child": %d}\' % child.pid, flush=True)\n'
        "sys.stdin.readline()\n"
    )
    with running(program) as client:
        child = client.request("echo", timeout_s=20)["child"]
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "a child of the worker was left behind"
        time.sleep(0.05)


def test_closing_twice_is_fine():
    with running(ECHO) as client:
        client.close()
        client.close()


def test_an_exception_in_the_block_kills_at_once():
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), running("import time; time.sleep(600)"):
        raise KeyboardInterrupt
    assert time.monotonic() - started < 5


def test_output_without_end_does_not_stop_the_worker():
    program = "import sys\nsys.stderr.write('noise' * 10**6)\n" + ECHO
    with running(program) as client:
        assert client.request("echo", timeout_s=20)["ok"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_what_was_asked_for():
    cpu = min(os.sched_getaffinity(0))
    program = (
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps({'ok': True, 'cpus': sorted(os.sched_getaffinity(0))}), flush=True)"
    )
    with running(program, affinity=frozenset({cpu})) as client:
        assert client.request("echo", timeout_s=20)["cpus"] == [cpu]


def test_the_signal_that_ended_it_is_not_ours():
    """SIGTERM from outside is reported as such, not as our own kill."""
    with running(ECHO) as client:
        client.request("echo", timeout_s=20)
        os.kill(client.pid, signal.SIGTERM)
        with pytest.raises(WorkerError, match="SIGTERM"):
            client.request("echo", timeout_s=20)
