from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from frm_mlflow.worker import PROTOCOL_VERSION
from frm_mlflow.worker.manifest import REFERENCE_NAME, ExportedModel, TensorSpec
from frm_mlflow.worker.service import Worker, serve
from frm_mlflow.worker.sessions.base import Placement, Session, SessionError


class Doubling(Session):
    """A model that doubles its input; `off` makes it a different function."""

    off = 0.0

    def start(self): ...
    def placement(self):
        return Placement("cpu", "cpu", "numpy")

    def load(self, directory, exported_model):
        self.directory = directory

    def prepare(self, inputs):
        self._input = inputs[0]

    def run(self) -> None:
        self._output = self._input * 2 + self.off

    def outputs(self):
        return [self._output]

    def versions(self):
        return {"doubling": "1.0"}

    def facts(self):
        return {"threads": self.target.threads, "device": self.target.kind}


@pytest.fixture
def exported_model(tmp_path: Path) -> Path:
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    np.savez(tmp_path / REFERENCE_NAME, input_0=x, output_0=2 * x)
    spec = (TensorSpec("x", (1, 4), "float32"),)
    ExportedModel("twice", "torch", "fp32", "file", spec, spec).write(tmp_path)
    return tmp_path


def ask(worker: Worker, **request):
    reply, _ = worker.answer(json.dumps(request))
    return reply


def loaded(exported_model: Path, session=Doubling, **fields) -> Worker:
    worker = Worker(open_session=lambda runtime, target: session(target))
    reply = ask(worker, cmd="load", exported_model=str(exported_model), runtime="doubling", **fields)
    assert reply["ok"], reply
    return worker


def test_a_whole_conversation_ends_with_close(exported_model: Path):
    requests = [
        {"cmd": "hello"},
        {"cmd": "load", "exported_model": str(exported_model), "runtime": "doubling", "threads": 3},
        {"cmd": "verify"},
        {"cmd": "warm_up", "runs": 2, "seconds": 0.0, "agreement": 1000.0, "max_seconds": 1.0},
        {"cmd": "run_block", "runs": 4, "settle": 1},
        {"cmd": "memory"},
        {"cmd": "close"},
        {"cmd": "hello"},
    ]
    replies = io.StringIO()
    worker = Worker(open_session=lambda runtime, target: Doubling(target))
    serve(worker, requests=io.StringIO("\n".join(map(json.dumps, requests)) + "\n"), replies=replies)
    answers = [json.loads(line) for line in replies.getvalue().splitlines()]
    assert len(answers) == 7, "nothing is answered after close"
    assert all(answer["ok"] for answer in answers)
    hello, load, verify, warm, block, memory, _ = answers
    assert hello["protocol"] == PROTOCOL_VERSION
    assert load["versions"] == {"doubling": "1.0"}
    assert load["facts"] == {"threads": 3, "device": "cpu"}
    assert verify["cosine"] == pytest.approx(1.0)
    assert warm["runs"] >= 2
    assert len(block["wall_ns"]) == len(block["cpu_ns"]) == 4
    assert memory["peak_mib"] + memory["base_mib"] > 1


def test_verify_shows_another_function(exported_model: Path):
    class Off(Doubling):
        off = 1000.0

    assert ask(loaded(exported_model, Off), cmd="verify")["cosine"] < 0.9


def test_predict_runs_each_batch_and_keeps_the_order(exported_model: Path, tmp_path: Path):
    worker = loaded(exported_model)
    given = np.random.default_rng(0).standard_normal((5, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "in.npz", input_0=given)
    reply = ask(worker, cmd="predict", inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz"))
    assert reply["calls"] == 5
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["output_0"], 2 * given)


def test_after_predict_the_reference_input_is_back(exported_model: Path, tmp_path: Path):
    worker = loaded(exported_model)
    np.savez(tmp_path / "in.npz", input_0=np.ones((2, 1, 4), np.float32))
    ask(worker, cmd="predict", inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz"))
    assert ask(worker, cmd="verify")["cosine"] == pytest.approx(1.0)


@pytest.mark.parametrize("line", ["not json", "[]", "{}", '{"cmd": "load"}', '{"cmd": "hello", "extra": 1}'])
def test_an_invalid_request_gets_a_reply_and_the_worker_goes_on(line: str):
    reply, is_last = Worker().answer(line)
    assert not reply["ok"]
    assert reply["kind"] == "bad_request"
    assert not is_last


def test_an_unknown_command_lists_the_known_ones():
    reply = ask(Worker(), cmd="dance")
    assert "run_block" in reply["error"]


def test_measuring_before_loading_says_what_to_do():
    reply = ask(Worker(), cmd="run_block", runs=1)
    assert reply["kind"] == "bad_request"
    assert "load" in reply["error"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SessionError("no such provider", kind="provider"), "provider"),
        (SessionError("x", kind="missing_package", package="openvino"), "missing_package"),
        (MemoryError("too much"), "memory"),
        (RuntimeError("kernel failed"), "runtime"),
    ],
)
def test_what_a_runtime_raises_becomes_a_reply_of_its_kind(exported_model: Path, error: Exception, kind: str):
    def fail(runtime, target):
        raise error

    reply = ask(Worker(open_session=fail), cmd="load", exported_model=str(exported_model), runtime="x")
    assert reply["kind"] == kind
    assert str(error) in reply["error"]
    assert reply.get("package", "") == getattr(error, "package", "")


def test_an_unknown_runtime_lists_the_valid_ones(exported_model: Path):
    reply = ask(Worker(), cmd="load", exported_model=str(exported_model), runtime="abacus")
    assert reply["kind"] == "unsupported"
    assert "onnxruntime" in reply["error"]


def test_the_memory_base_is_taken_between_warming_and_loading(exported_model: Path):
    buffers = []

    class Heavy(Doubling):
        def warm(self, exported_model):
            buffers.append(np.ones(32 * 2**20, np.uint8))

        def load(self, directory, exported_model):
            buffers.append(np.ones(48 * 2**20, np.uint8))

    memory = ask(loaded(exported_model, Heavy), cmd="memory")
    assert memory["loaded_mib"] == pytest.approx(48, abs=3)
    assert memory["peak_mib"] == pytest.approx(48, abs=3)
