"""Workers with wrong replies: the client accepts what the protocol allows, and otherwise raises a clear error."""

from __future__ import annotations

import base64
import json
import math
import os
import random
import sys
import time
from typing import Any

import pytest

from frm_mlflow.devices.client import Launch, WorkerClient
from frm_mlflow.devices.replies import DAY_NS, ReplyError, checked, parsed
from frm_mlflow.errors import MissingExtraError, WorkerError
from frm_mlflow.launcher.request import Reply, reply_of
from tests.mutate import mutated_json

SAMPLE, ALL = 1500, 6000
RUNS = 4
GOOD: dict[str, dict[str, Any]] = {
    "hello": {"protocol": 2, "python": "3.11.2", "pid": 7, "host": "h", "cwd": "/", "affinity": [0, 1]},
    "load": {
        "seconds": 0.5,
        "once_seconds": 0.0,
        "versions": {"onnxruntime": "1.20"},
        "facts": {"providers": ["CPUExecutionProvider"], "threads": 1},
        "base_mib": 50.0,
        "loaded_mib": 10.5,
        "placement": {
            "kind": "cuda",
            "unit": "gpu",
            "provider": "CUDAExecutionProvider",
            "nodes": {"gpu": 9, "cpu": 1},
        },
        "precision": "fp32",
        "card": {"name": "NVIDIA A100-SXM4-80GB", "uuid": "0000abcd"},
    },
    "verify": {"cosine": 1.0, "max_abs_error": 0.0, "max_rel_error": 0.0, "finite": True},
    "predict": {"calls": 3},
    "warm_up": {"runs": 5, "seconds": 0.2, "settled": True, "first_ns": 2000, "median_ns": 1500},
    "run_block": {
        "wall_ns": [1500] * RUNS,
        "cpu_ns": [1400] * RUNS,
        "device_ns": None,
        "readings": [{"gpu_sm_clock_mhz": 1410.0}],
    },
    "memory": {
        "peak_mib": 20.0,
        "base_mib": 50.0,
        "loaded_mib": 10.5,
        "definition": "resident",
        "device_mib": None,
        "device_peak_mib": 3.0,
        "device_definition": "allocator_over_base",
    },
    "energy": {"meter": "rapl", "millijoules": 4.0, "runs": 10, "seconds": 1.0, "period_ms": 1.0},
    "close": {},
}


def accepted(command: str, line: bytes) -> dict[str, Any] | None:
    """Return a reply that the client accepts; None if it raises a clear error."""
    try:
        reply = parsed(line)
        return checked(command, reply, {"runs": RUNS}) if reply["ok"] else None
    except ReplyError as error:
        sentence = str(error)
    assert sentence.split()[0] in ("replied", "sent")
    assert len(sentence) < 1200
    return None


def numbers(node: Any) -> list[float]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [float(node)] if isinstance(node, int | float) and not isinstance(node, bool) else []
    return own + [number for child in children for number in numbers(child)]


def assert_plausible(command: str, reply: dict[str, Any]) -> None:
    """Check a reply independently: every field has its type, and every number a plausible size."""
    good = GOOD[command]
    for key, value in good.items():
        if command == "energy" and reply["meter"] is None:
            break
        got = reply[key]
        if key in ("affinity", "device_ns", "device_mib", "device_peak_mib", "card", "readings") and got is None:
            continue
        if isinstance(value, bool | str | dict | list):
            assert isinstance(got, type(value))
        elif value is not None:
            assert isinstance(got, int | float)
            assert not isinstance(got, bool)
        if key == "facts" or (command == "verify" and not reply["finite"]):
            continue
        largest = sys.float_info.max if command == "verify" else DAY_NS  # an output's error may be any number
        assert all(math.isfinite(number) and abs(number) <= largest for number in numbers(got)), (key, got)
    if command == "run_block":
        assert len(reply["wall_ns"]) == len(reply["cpu_ns"]) == RUNS
        assert min(reply["wall_ns"]) > 0


@pytest.mark.parametrize("command", GOOD)
def test_every_good_reply_is_accepted(command: str) -> None:
    assert accepted(command, json.dumps({"ok": True} | GOOD[command]).encode()) is not None


@pytest.mark.parametrize("count", [SAMPLE, pytest.param(ALL, marks=pytest.mark.slow)])
def test_a_changed_reply_is_plausible_or_refused(count: int) -> None:
    rng, refused = random.Random(f"replies/{count}"), 0
    commands = list(GOOD)
    for _ in range(count):
        command = rng.choice(commands)
        started = time.monotonic()
        reply = accepted(command, mutated_json({"ok": True} | GOOD[command], rng))
        assert time.monotonic() - started < 5
        if reply is None:
            refused += 1
        else:
            assert_plausible(command, reply)
    assert refused > count / 2


@pytest.mark.parametrize(
    ("command", "change"),
    [
        ("run_block", {"wall_ns": [1500] * (RUNS - 1)}),
        ("run_block", {"wall_ns": [1500, 0, 1500, 1500]}),
        ("run_block", {"cpu_ns": None}),
        ("run_block", {"wall_ns": [1500.5] * RUNS}),
        ("warm_up", {"median_ns": 0}),
        ("warm_up", {"median_ns": 2 * DAY_NS}),
        ("memory", {"peak_mib": float("nan")}),
        ("memory", {"peak_mib": 1e12}),
        ("memory", {"peak_mib": True}),
        ("verify", {"cosine": 2.0}),
        ("verify", {"max_abs_error": float("nan")}),
        ("energy", {"millijoules": None}),
        ("load", {"versions": ["1.20"]}),
    ],
)
def test_absurd_values_are_refused_by_name(command: str, change: dict[str, Any]) -> None:
    reply = {"ok": True} | GOOD[command] | change
    with pytest.raises(ReplyError, match=next(iter(change))):
        checked(command, reply, {"runs": RUNS})


def client_of(program: str) -> WorkerClient:
    return WorkerClient(Launch(command=(sys.executable, "-c", program), environment=dict(os.environ)), name="tester")


FIXED = """
import base64, sys
sys.stdin.readline()
sys.stdout.buffer.write(base64.b64decode({line!r}) + b"\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.parametrize("number", range(8))
def test_a_real_process_that_replies_wrongly_is_ended(number: int) -> None:
    line = mutated_json({"ok": True} | GOOD["run_block"], random.Random(number)).replace(b"\n", b" ")
    program = FIXED.format(line=base64.b64encode(line).decode())
    with client_of(program) as client:
        try:
            assert_plausible("run_block", client.request("run_block", timeout_s=20, runs=RUNS))
        except (WorkerError, MissingExtraError) as error:
            sentence = str(error)
            assert "tester" in sentence


def test_unrequested_replies_are_refused_and_fill_no_memory() -> None:
    talker = "import sys\nwhile True: sys.stdout.write('x' * 1000000 + chr(10))"
    with client_of(talker) as client:
        time.sleep(1.0)
        with pytest.raises(WorkerError, match="garbage"):
            client.request("hello", timeout_s=20)
        assert client._replies.qsize() <= 4


def test_endless_lines_end_at_the_size_limit() -> None:
    endless = "import sys\nsys.stdin.readline()\nwhile True: sys.stdout.write('[' * 1000000)"
    with client_of(endless) as client, pytest.raises(WorkerError, match="16 MiB"):
        client.request("hello", timeout_s=30)


@pytest.mark.parametrize("count", [300, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_changed_reply_of_a_job_is_an_error_that_names_the_job(count: int) -> None:
    outcome = {"name": "n", "status": "FINISHED", "run_id": "r", "record_id": "i", "reason": "", "kept": None}
    good = {"outcomes": [outcome], "error": "", "host": "h", "seconds": 1.0}
    assert reply_of(json.dumps(good), sender="the job") == Reply(**good)
    rng = random.Random(f"jobs/{count}")
    for _ in range(count):
        reply = reply_of(mutated_json(good, rng).decode(errors="replace"), sender="the job")
        assert isinstance(reply.error, str)
        assert math.isfinite(reply.seconds)
        assert all(set(item) == set(outcome) and isinstance(item["name"], str) for item in reply.outcomes)
