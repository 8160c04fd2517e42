"""What must hold after a fault, checked on the server and on the disk."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Run

from frm_mlflow import schema
from frm_mlflow.multirun import FOLDER_PREFIX
from tests.faults import journal
from tests.faults.process import jobs_of_the_fleet, stragglers
from tests.faults.world import MODELS, Case

GRACE_S = 5.0
"""Time within which a process must notice that its parent is gone."""


@dataclass(frozen=True)
class Verdict:
    """Counts of what went right and wrong with one fault; `problems` describes the failures."""

    finished: int
    """Finished measurements: on disk if the sweep was killed, otherwise in memory."""
    lost: int
    doubled: int
    running: int
    """Runs left RUNNING, of benchmarks and of sweeps."""
    unfinished: int
    """Runs that ended FAILED or KILLED, each with a reason."""
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all conditions hold."""
        return not (self.lost or self.doubled or self.running or self.problems)

    def to_dict(self) -> dict[str, object]:
        """Return it as plain data for JSON."""
        return asdict(self) | {"problems": list(self.problems)}


def judge(case: Case) -> Verdict:
    """Check the server and the disk after recovery."""
    client = MlflowClient(case.world.server.uri)
    runs = case.world.runs(case.name)
    benchmarks = [run for run in runs if run.data.tags.get(schema.KIND.key) == schema.KIND_BENCHMARK]
    finished = [run for run in benchmarks if run.info.status == "FINISHED"]
    truth = journal.read(case.journal)
    owed = set(truth.written) if case.killed or -9 in case.codes else set(truth.measured)
    there = Counter(run.data.tags.get(schema.RECORD_ID.key, "") for run in finished)
    problems = [
        *_values(client, finished, truth),
        *_completeness(case, runs, finished),
        *_reasons(runs),
        *_beside(case, finished),
        *_leftovers(case),
    ]
    return Verdict(
        finished=len(owed),
        lost=len(owed - set(there)),
        doubled=sum(number - 1 for number in there.values()) + len(set(there) - set(truth.measured)),
        running=sum(run.info.status == "RUNNING" for run in runs),
        unfinished=sum(run.info.status in ("FAILED", "KILLED") for run in runs),
        problems=tuple(problems),
    )


def _values(client: MlflowClient, finished: list[Run], truth: journal.Truth) -> list[str]:
    """Check that each finished run has the measured value and its files."""
    problems = []
    for run in finished:
        record = run.data.tags.get(schema.RECORD_ID.key, "")
        if run.data.metrics.get(schema.LATENCY_P50.key) != truth.measured.get(record):
            problems.append(f"{run.info.run_name}: the latency is not what was measured")
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        if missing := {"samples.parquet", "environment.json", "config.yaml"} - files:
            problems.append(f"{run.info.run_name}: without {', '.join(sorted(missing))}")
        if (run.info.end_time or 0) < run.info.start_time:
            problems.append(f"{run.info.run_name}: ended before it started")
    return problems


def _completeness(case: Case, runs: list[Run], finished: list[Run]) -> list[str]:
    """Check that each requested sweep is FINISHED and has every benchmark FINISHED exactly once below it."""
    parents = [r for r in runs if r.data.tags.get(schema.KIND.key) == schema.KIND_SWEEP]
    done = [p for p in parents if p.info.status == "FINISHED"]
    problems = [] if len(done) == case.sweeps else [f"{len(done)} FINISHED sweeps, not {case.sweeps}"]
    for parent in done:
        below = [r for r in finished if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        models = Counter(run.data.tags[schema.MODEL.key] for run in below)
        if models != Counter(MODELS):
            problems.append(f"the sweep has {dict(models)}")
        if "leaderboard" not in parent.data.tags.get("mlflow.loggedArtifacts", ""):
            problems.append("the sweep has no leaderboard")
    return problems


def _beside(case: Case, finished: list[Run]) -> list[str]:
    """Return overlapping measurements; not checked if the clock was set, or on a fleet, which has several devices."""
    if case.on_fleet or case.name.startswith("clock"):
        return []
    spans = sorted((run.info.start_time, run.info.end_time, run.info.run_name) for run in finished)
    pairs = pairwise(spans)
    return [f"{after[2]} was measured beside {before[2]}" for before, after in pairs if after[0] < before[1]]


def _reasons(runs: list[Run]) -> list[str]:
    bad = [r for r in runs if r.info.status in ("FAILED", "KILLED") and not r.data.tags.get(schema.REASON.key)]
    return [f"{run.info.run_name} is {run.info.status} without a reason" for run in bad]


def _leftovers(case: Case) -> list[str]:
    """Return leftover processes, temporary files, pending results and held locks, here and on the device."""
    deadline = time.monotonic() + GRACE_S
    while (problems := _in_passing(case)) and time.monotonic() < deadline:
        time.sleep(0.05)
    problems += [f"in the temporary folder: {path.name}" for path in case.tmp.glob("*") if not _is_hydras(path)]
    problems += [f"in the spool: {path.name}" for path in case.spool.glob("*")]
    problems += [f"in the cache: staging/{path.name}" for path in (case.cache / "staging").glob("*")]
    if case.on_fleet:
        problems += [f"in the node's temporary folder: {path.name}" for path in case.world.node_tmp.glob("*")]
        problems += [f"in the node's spool: {path.name}" for path in case.world.node_spool.glob("*")]
    locks = [*case.folder.rglob("*.lock"), *case.cache.rglob("*.lock")]
    return problems + [f"held: {path.name}" for path in locks if _held(path)]


def _is_hydras(path: Path) -> bool:
    """Whether `path` is the private folder of a multirun that was killed."""
    return path.name.startswith(FOLDER_PREFIX)


def _in_passing(case: Case) -> list[str]:
    """Return short-lived leftovers: processes that are ending, and files that they remove at the end."""
    alive = stragglers(case.name) + (jobs_of_the_fleet(case.world.folder) if case.on_fleet else [])
    left = []
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            left.append(f"process {process.pid} still runs: {' '.join(process.cmdline())[:120]}")
    if case.device_folder is not None:
        halves = ("scratch/*", "exported_models/.incoming*", ".incoming*", "worker-*.pyz.*")
        left += [f"on the device: {path.name}" for half in halves for path in case.device_folder.glob(half)]
    return left


def _held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
