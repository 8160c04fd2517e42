"""Servers that misbehave towards MLflow's real client: a clear error in time, and results are kept."""

from __future__ import annotations

import gzip
import json
import random
import re
import resource
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from records import record

from frm_mlflow.errors import FrmError, TrackingError
from frm_mlflow.tracking import resume, server, spool
from frm_mlflow.tracking.create import create_run
from frm_mlflow.tracking.query import benchmarks
from frm_mlflow.tracking.runs import open_sweep
from frm_mlflow.tracking.send import log_values
from frm_mlflow.tracking.server import find_run
from tests.faults.proxy import running_proxy
from tests.mutate import mutated_json

SAMPLE, ALL = 250, 4000
TIMEOUT_S = 2
LONGEST_S = 4 * TIMEOUT_S
NOW_MS = 1_790_000_000_000
HTML = b"<!DOCTYPE html><html><head><title>Hotel Wi-Fi: log in</title></head><body>" + b"x" * 5000 + b"</body></html>"
RUN = {
    "info": {
        "run_id": "ab" * 16,
        "run_uuid": "ab" * 16,
        "experiment_id": "1",
        "run_name": "b",
        "user_id": "",
        "status": "FINISHED",
        "start_time": NOW_MS,
        "end_time": NOW_MS + 5,
        "lifecycle_stage": "active",
        "artifact_uri": "mlflow-artifacts:/1/x/artifacts",
    },
    "data": {
        "metrics": [{"key": "frm", "value": 0.5, "timestamp": NOW_MS, "step": 0}],
        "params": [{"key": "p", "value": "1"}],
        "tags": [{"key": "frm.config_hash", "value": "h"}, {"key": "frm.kind", "value": "benchmark"}],
    },
    "inputs": {},
}
EXPERIMENT = {
    "experiment_id": "1",
    "name": "e",
    "artifact_location": "mlflow-artifacts:/1",
    "lifecycle_stage": "active",
    "last_update_time": NOW_MS,
    "creation_time": NOW_MS,
}
GOOD: dict[str, Any] = {
    "experiments/search": {"experiments": [EXPERIMENT]},
    "experiments/get-by-name": {"experiment": EXPERIMENT},
    "experiments/get": {"experiment": EXPERIMENT},
    "experiments/create": {"experiment_id": "1"},
    "runs/create": {"run": RUN},
    "runs/get": {"run": RUN},
    "runs/update": {"run_info": RUN["info"]},
    "runs/search": {"runs": [RUN, RUN]},
    "runs/log-batch": {},
    "runs/set-tag": {},
}
"""What the server replies to each request."""


def complete(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


JSON = "Content-Type: application/json"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CONSTANT: dict[str, bytes] = {
    "a login page": complete(HTML, "Content-Type: text/html"),
    "a login page as JSON": complete(HTML, JSON),
    "nothing": complete(b""),
    "spaces": complete(b"  \n", JSON),
    "no content": complete(b"", status="204 No Content"),
    "a list": complete(b"[]", JSON),
    "null": complete(b"null", JSON),
    "a number": complete(b"42", JSON),
    "a word": complete(b'"200 OK"', JSON),
    "plain 200 OK": complete(b"200 OK"),
    "foreign JSON": complete(b'{"status": "login required", "url": "http://portal"}', JSON),
    "deep brackets": complete(b"[" * 200_000, JSON),
    "many objects": complete(b'{"runs":[' + b"{}," * 3_000_000 + b"{}]}", JSON),
    "UTF-16": complete('{"runs": []}'.encode("utf-16"), JSON),
    "wrong gzip": complete(b"\x1f\x8b" + b"x" * 50, JSON, "Content-Encoding: gzip"),
    "a gzip bomb": complete(gzip.compress(b" " * 2**28), JSON, "Content-Encoding: gzip"),
    "cut off": HEAD + b'Content-Length: 5000\r\n\r\n{"runs": [',
    "a wrong length": HEAD + b"Content-Length: -5\r\n\r\n{",
    "a wrong chunk": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a strange status": b"HTTP/1.1 999 Odd\r\n\r\n",
    "many headers": HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    "moved to a page": complete(b"", "Location: /login", status="302 Found"),
    "an error page": complete(HTML * 100, "Content-Type: text/html", status="503 Service Unavailable"),
    "a refusal that is a list": complete(b"[1]", JSON, status="400 Bad Request"),
}
ENDLESS: dict[str, tuple[bytes, bytes, float]] = {
    "a dripping header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"y", 0.05),
    "dripping headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", 0.1),
    "a dripping body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" ", 0.05),
    "a dripping chunk": (CHUNKED, b"1\r\n \r\n", 0.05),
    "an endless body": (HEAD + b"\r\n", b" " * 2**20, 0.0),
    "an endless list": (HEAD + b'\r\n{"runs":[{}', b",{}" * 2**18, 0.0),
    "endless chunks": (CHUNKED, b"100000\r\n" + b" " * 2**20 + b"\r\n", 0.0),
    "an endless chunk size": (CHUNKED, b"1" * 2**20, 0.0),
    "endless continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
    "silence": (b"", b"", 0.1),
}
"""What is sent first, what is sent repeatedly, and the seconds in between."""


@dataclass
class Behaviour:
    """What the server does now; by default it responds correctly."""

    answer: Callable[[str], bytes] | None = None
    endless: tuple[bytes, bytes, float] | None = None
    asked: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def _serve(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        endpoint = urlsplit(self.path).path.partition("/api/2.0/mlflow/")[2]
        behaviour: Behaviour = self.server.behaviour
        behaviour.asked.append(endpoint)
        self.close_connection = True
        with suppress(OSError):
            if behaviour.endless:
                first, again, seconds = behaviour.endless
                self.wfile.write(first)
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline and behaviour.endless:
                    self.wfile.write(again)
                    time.sleep(seconds)
            elif behaviour.answer:
                self.wfile.write(behaviour.answer(endpoint))
            elif endpoint == "runs/search" and body.get("page_token"):
                self.wfile.write(complete(b"{}", JSON))
            else:
                self.wfile.write(complete(json.dumps(GOOD.get(endpoint, {})).encode(), JSON))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore clients that give up: that is not an error."""


@contextmanager
def serving() -> Iterator[tuple[str, Behaviour]]:
    hostile = _Server(("127.0.0.1", 0), _Handler)
    hostile.behaviour = Behaviour()  # type: ignore[attr-defined]
    thread = threading.Thread(target=hostile.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{hostile.server_address[1]}", hostile.behaviour  # type: ignore[attr-defined]
    finally:
        hostile.behaviour.endless = None  # type: ignore[attr-defined]
        hostile.shutdown()
        socketserver.TCPServer.server_close(hostile)
        thread.join()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Behaviour]]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serving() as served:
        yield served


OPERATIONS: dict[str, Callable[[MlflowClient], Any]] = {
    "check": lambda client: server.check_answer(client, timeout_s=TIMEOUT_S),
    "experiment": lambda client: server.ensure_experiment(client, "e"),
    "create": lambda client: create_run(
        client, "1", name="b", tags={"frm.opening": "m"}, start_ms=NOW_MS, sleep=lambda _: None
    ),
    "get": lambda client: find_run(client, "ab" * 16),
    "search": lambda client: resume.completed(client, "1"),
    "unfinished": lambda client: resume.unfinished_sweep(client, "e", config_hash="h"),
    "read": lambda client: benchmarks(client, ["e"], cached=False).frame,
    "values": lambda client: log_values(client, "ab" * 16, metrics={"frm": 0.5}, tags={"a": "b"}),
    "end": lambda client: client.set_terminated("ab" * 16, "FINISHED", NOW_MS),
}


def attempt(name: str, client: MlflowClient) -> tuple[str, Any]:
    """Return the error's message, or "" with the result; anything but a tracking error passes through."""
    started = time.monotonic()
    try:
        result = OPERATIONS[name](client)
    except (*spool.SERVER_ERRORS, FrmError) as error:
        result, sentence = None, str(error) or type(error).__name__
    else:
        sentence = ""
    # A lost creation is looked up and retried: three times two requests.
    assert time.monotonic() - started < LONGEST_S * (6 if name == "create" else 2)
    assert len(sentence) < 5000
    return sentence, result


def assert_plausible(name: str, result: Any) -> None:
    if name in ("experiment", "create"):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", result)
    if name == "get":
        assert isinstance(result.info.start_time, int)
        assert 0 <= result.info.start_time < 253_402_300_800_000
        assert all(isinstance(value, float) for value in result.data.metrics.values())
    if name in ("search", "unfinished") and result:
        ids = [result] if isinstance(result, str) else result.values()
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", run_id) for run_id in ids)


def test_the_server_of_these_tests_is_accepted_when_it_answers_well(hostile: tuple[str, Behaviour]) -> None:
    uri, _ = hostile
    client = server.connect(uri)
    for name in OPERATIONS:
        assert attempt(name, client)[0] == ""


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_wrong_answer_is_named(kind: str, hostile: tuple[str, Behaviour]) -> None:
    uri, behaviour = hostile
    client = server.connect(uri)
    behaviour.answer = lambda _: CONSTANT[kind]
    for name in OPERATIONS:
        sentence, result = attempt(name, client)
        assert sentence, f"{name} took {kind} for an answer: {result!r}"
    with pytest.raises(TrackingError, match=re.escape(uri)):
        server.connect(uri)


def test_the_sentence_shows_what_came(hostile: tuple[str, Behaviour]) -> None:
    uri, behaviour = hostile
    behaviour.answer = lambda _: CONSTANT["a login page"]
    with pytest.raises(TrackingError, match=r"(?s)text/html of 5,\d+ bytes that begins '<!DOCTYPE html>.*MLFLOW_TRACK"):
        server.connect(uri)


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_answer_ends_in_time_and_within_memory(kind: str, hostile: tuple[str, Behaviour]) -> None:
    uri, behaviour = hostile
    client = server.connect(uri)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    behaviour.endless = ENDLESS[kind]
    for name in ("check", "get", "search"):
        sentence, _ = attempt(name, client)
        assert sentence, f"{name} took {kind} for an answer"
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 512


@pytest.mark.parametrize("count", [SAMPLE, pytest.param(ALL, marks=pytest.mark.slow)])
def test_a_changed_answer_is_plausible_or_refused(count: int, hostile: tuple[str, Behaviour]) -> None:
    uri, behaviour = hostile
    client = server.connect(uri)
    rng, refused = random.Random(f"server/{count}"), 0
    behaviour.answer = lambda endpoint: complete(mutated_json(GOOD.get(endpoint, {"a": 1}), rng), JSON)
    for _ in range(count):
        name = rng.choice(list(OPERATIONS))
        sentence, result = attempt(name, client)
        refused += bool(sentence)
        if not sentence:
            assert_plausible(name, result)
    assert refused > count / 3


@pytest.mark.parametrize("change", [{"start_time": "2026-01-01T00:00:00Z"}, {"end_time": 1.79e18}, {"start_time": -1}])
def test_times_that_are_not_milliseconds_are_refused(change: dict[str, Any], hostile: tuple[str, Behaviour]) -> None:
    uri, behaviour = hostile
    client = server.connect(uri)
    run = RUN | {"info": RUN["info"] | change}
    behaviour.answer = lambda _: complete(json.dumps({"run": run, "runs": [run]}).encode(), JSON)
    for name in ("get", "search"):
        assert next(iter(change)) in attempt(name, client)[0]


def test_a_server_that_repeats_its_runs_is_not_read_for_ever(hostile: tuple[str, Behaviour]) -> None:
    uri, behaviour = hostile
    client = server.connect(uri)
    answers = GOOD | {"runs/search": {"runs": [RUN], "next_page_token": "bW9yZQ=="}}
    behaviour.answer = lambda endpoint: complete(json.dumps(answers[endpoint]).encode(), JSON)
    for name in ("search", "read"):
        assert "repeats the same runs" in attempt(name, client)[0]
    behaviour.answer = lambda endpoint: complete(json.dumps(GOOD[endpoint]).encode(), JSON)
    assert "without end" in attempt("read", client)[0]


@pytest.mark.parametrize("kind", ["a login page", "nothing", "foreign JSON", "cut off"])
def test_results_are_kept_while_the_answers_are_wrong(
    kind: str, mlflow_server: str, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with running_proxy(int(urlsplit(mlflow_server).port or 0)) as proxy:
        client = server.connect(proxy.uri)
        with open_sweep(client, experiment, name="sweep", spool=tmp_path) as sweep:
            proxy.weather.answer_with(CONSTANT[kind])
            with sweep.benchmark(name="b") as run:
                run.finish(record(0))
        assert [outcome.status for outcome in sweep.kept] == ["FINISHED"]
        proxy.weather.set("fair")
        assert spool.resend(tmp_path).sent == 2, "the benchmark and the end of its sweep"
    (kept,) = resume.runs_below(MlflowClient(mlflow_server), sweep.run_id)
    assert kept.info.status == "FINISHED"
