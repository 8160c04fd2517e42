"""Workers that fail in a sweep: each benchmark ends as FAILED with the reason, and the sweep continues."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run

from frm_mlflow import schema
from tests.faults import leak
from tests.faults.process import Command, stragglers
from tests.faults.world import CONF, World

TIMEOUT_S = 10
"""Time that a worker has to reply."""
LIMIT_MIB = 500
TIMED_S = 2.0
"""Time that each benchmark is timed; much longer than a leak takes to reach the limit."""
GARBAGE = b"Segmentation voilation, please reboot\n"


def killed(worker: psutil.Process, leaky: Path) -> None:
    worker.send_signal(signal.SIGKILL)


def hangs(worker: psutil.Process, leaky: Path) -> None:
    worker.send_signal(signal.SIGSTOP)


def babbles(worker: psutil.Process, leaky: Path) -> None:
    """Write to the pipe of its replies, which is neither its input nor its standard error."""
    fds = Path(f"/proc/{worker.pid}/fd")
    others = {(fds / "0").readlink(), (fds / "2").readlink()}
    pipes = {fd: fd.readlink() for fd in fds.iterdir() if str(fd.readlink()).startswith("pipe:")}
    answers = next(fd for fd, pipe in pipes.items() if pipe not in others)
    answers.write_bytes(GARBAGE)


def leaks(worker: psutil.Process, leaky: Path) -> None:
    leaky.write_text(str(worker.pid))


FAULTS: dict[str, tuple[Callable[[psutil.Process, Path], None], str]] = {
    "killed": (killed, "was killed by SIGKILL"),
    "hangs": (hangs, f"did not respond within {TIMEOUT_S} s and was killed"),
    "babbles": (babbles, "'Segmentation voilation, please reboot'"),
    "leaks": (leaks, f"the limit is {LIMIT_MIB} MiB; it was killed"),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a worker's pipes are reached through Linux's /proc")
def test_failed_workers_end_only_their_benchmark(world: World) -> None:
    case = world.case("workers", 0)
    leaky = case.folder / "leaky"
    case.environ |= {leak.VARIABLE: str(leaky)}
    seeds = range(len(FAULTS) + 1)
    sweep = case.command(
        *("bench", f"--config-dir={CONF}", "-m", "model=tiny_a", "baseline=tiny_base"),
        *("measure=tiny", "device=cpu", f"tracking.experiment={case.name}", f"measure.timeout_s={TIMEOUT_S}"),
        f"measure.max_seconds={TIMED_S}",
        *(f"+runtime.options.memory_limit_mib={LIMIT_MIB}", f"measure.seed={','.join(map(str, seeds))}"),
    )
    seen: set[int] = set()
    for inject, _ in FAULTS.values():
        worker = workers_in_turn(sweep, seen)
        inject(worker, leaky)
        worker.wait(timeout=60)  # the sweep ends it within the time allowed for a reply

    assert case.ended(sweep) == 1, case.log.read_text()[-3000:]
    runs = sorted(world.runs(case.name), key=lambda run: run.info.start_time)
    measured = [run for run in runs if run.data.tags.get(schema.MODEL.key) == "tiny_a"]
    assert [run.info.status for run in measured] == ["FAILED"] * len(FAULTS) + ["FINISHED"]
    for run, (name, (_, reason)) in zip(measured, FAULTS.items(), strict=False):
        assert reason in reason_of(run), name
        assert "The model's worker" in reason_of(run), name
        assert (run.info.end_time - run.info.start_time) / 1e3 < TIMEOUT_S + 30, name
    baselines = [run for run in runs if run.data.tags.get(schema.MODEL.key) == "tiny_base"]
    assert {run.info.status for run in baselines} == {"FINISHED"}
    assert not stragglers(case.name)


def workers_in_turn(sweep: Command, seen: set[int]) -> psutil.Process:
    """Return the model's worker of the next interleaved pair; the baseline's worker is started first."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert sweep.running, "the sweep ended before every fault was injected"
        pair = [worker for worker in workers(sweep) if worker.pid not in seen]
        if len(pair) == 2:
            seen |= {worker.pid for worker in pair}
            return max(pair, key=lambda worker: (worker.create_time(), worker.pid))
        time.sleep(0.005)
    pytest.fail("no further pair of workers was started")


def workers(sweep: Command) -> list[psutil.Process]:
    try:
        return [p for p in psutil.Process(sweep.pid).children() if "frm_mlflow.worker" in " ".join(p.cmdline())]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def reason_of(run: Run) -> str:
    return str(run.data.tags[schema.REASON.key])
