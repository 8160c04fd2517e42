"""Measure the overhead of running a fleet, with many simulated devices that only wait.

    python -m benchmarks.fleet                             # 200 devices, 3 jobs each of 20 s
    python -m benchmarks.fleet --devices 40 --seconds 5    # a small fleet
    python -m benchmarks.fleet --json build/fleet.json

A real Ray node on loopback has one custom resource per device, and the real command runs a sweep over them. Planning,
dispatch, one Ray worker and one process per job, replies and shutdown are all real. Only the job's process is replaced
(`benchmarks/simulated_member`): it sleeps instead of measuring. So the figures cover everything except measuring, on
one machine that acts as gateway, head and launcher.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

from benchmarks.mlflow_server import running_server
from benchmarks.ray_nodes import Fleet, processes_of, running_fleet
from benchmarks.results import add_option, recorded

ROOT = Path(__file__).resolve().parents[1]
SIMULATED = Path(__file__).resolve().parent / "simulated_member"
FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
MODELS = ("mobilenet_v2", "resnet18", "squeezenet1_1", "mobilenet_v3_small", "efficientnet_b0", "densenet121")
HEAD = ("gcs_server", "raylet")
LOOK_EVERY_S = 0.5
JOURNAL_VARIABLE = "FRM_SIMULATED_JOURNAL"


@dataclass(frozen=True)
class Cost:
    """The overhead per job or per device."""

    devices: int
    jobs: int
    job_s: float
    plan_cpu_s: float
    """CPU time of the launcher per job until the first job runs: imports, Hydra, the plan."""
    launch_cpu_s: float
    """CPU time of the launcher per job after that."""
    head_cpu_s: float
    """CPU time of Ray's servers (GCS and raylet) per job."""
    first_wave_s: float
    """Time from the first job's start until every device has one; this machine starts a Ray worker for each."""
    gap_median_s: float
    gap_p95_s: float
    """Time from the end of a job to the start of the next one on the same device."""
    busy: float
    """Share of time in which devices had a job, after the first wave."""
    worker_mib: float
    """Unshared memory of a Ray worker while its job runs (USS)."""
    launcher_mib: float
    """Peak resident set of the launcher."""
    fleet_command_s: float
    """Wall time of `frm-mlflow fleet` while every device is busy."""
    wall_s: float


@dataclass
class Watch:
    """Observations of the processes while a sweep runs."""

    fleet: Fleet
    journal: Path
    launcher: psutil.Process
    head_before_s: float
    planned_cpu_s: float = 0.0
    launcher_cpu_s: float = 0.0
    launcher_mib: float = 0.0
    head_cpu_s: float = 0.0
    worker_mib: list[float] = field(default_factory=list)
    began: bool = False

    def look(self) -> None:
        """Sample once. Planning is over when the first job's process exists."""
        with suppress(psutil.NoSuchProcess):
            self.launcher_cpu_s = _cpu_s(self.launcher)
            self.launcher_mib = max(self.launcher_mib, self.launcher.memory_info().rss / 2**20)
        self.began = self.began or self._a_job_runs()
        if not self.began:
            self.planned_cpu_s = self.launcher_cpu_s
        self.head_cpu_s = _head_cpu_s(self.fleet) - self.head_before_s

    def weigh_workers(self) -> None:
        """Record the unshared memory of the Ray workers that currently supervise a job."""
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                busy = process.name().startswith("ray::") and "IDLE" not in process.name()
                if busy and self._is_ours(process):
                    self.worker_mib.append(process.memory_full_info().uss / 2**20)

    def _a_job_runs(self) -> bool:
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                if "frm_mlflow.launcher.job_process" in process.cmdline() and self._is_ours(process):
                    return True
        return False

    def _is_ours(self, process: psutil.Process) -> bool:
        return process.environ().get(JOURNAL_VARIABLE) == str(self.journal)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def simulate(devices: int, models: int, seconds: float, folder: Path) -> Cost:
    """Run a sweep of `models` jobs on each of `devices` devices."""
    names = [f"dev{number:03d}" for number in range(devices)]
    conf = folder / "conf" / "device"
    conf.mkdir(parents=True)
    for name in names:
        (conf / f"{name}.yaml").write_text(f"name: {name}\ntier: cpu\nkind: cpu\nrecognise:\n  cpu: '.'\n")
    journal = folder / "journal.jsonl"
    simulated = {"FRM_SIMULATED_SECONDS": str(seconds), JOURNAL_VARIABLE: str(journal)}
    own = {"XDG_CACHE_HOME": str(folder / "cache"), "FRM_MLFLOW_SPOOL": str(folder / "spool"), "OMP_NUM_THREADS": "1"}
    with running_server(folder / "server") as uri, running_fleet() as fleet:
        path = os.pathsep.join((str(SIMULATED), str(ROOT)))
        fleet.node("gateway", dict.fromkeys(names, 1.0), environ={**own, **simulated, "PYTHONPATH": path}, cpus=4)
        command = [FRM_MLFLOW, "bench", "--config-dir", str(folder / "conf"), "-m", "hydra/launcher=frm_ray"]
        command += [f"device={','.join(names)}", f"model={','.join(MODELS[:models])}", "hydra.launcher.look_every_s=2"]
        environ = {**os.environ, **own, **fleet.environ, "MLFLOW_TRACKING_URI": uri}
        return _watched(command, environ, fleet, journal, folder, devices=devices, seconds=seconds)


def _watched(
    command: Sequence[str],
    environ: dict[str, str],
    fleet: Fleet,
    journal: Path,
    folder: Path,
    *,
    devices: int,
    seconds: float,
) -> Cost:
    head_before_s, started = _head_cpu_s(fleet), time.monotonic()
    with (folder / "launcher.log").open("wb") as log:
        launcher = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)
    watch = Watch(fleet, journal, psutil.Process(launcher.pid), head_before_s)
    fleet_command_s = 0.0
    try:
        while launcher.poll() is None:
            watch.look()
            if journal.exists() and not fleet_command_s:  # the first jobs have ended, so all devices are busy
                watch.weigh_workers()
                fleet_command_s = _fleet_command_s(environ)
            time.sleep(LOOK_EVERY_S)
    finally:
        launcher.kill()
        launcher.wait()
    if launcher.returncode:
        raise RuntimeError((folder / "launcher.log").read_text()[-3000:])
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    jobs = len(lines)
    return Cost(
        devices=devices,
        jobs=jobs,
        job_s=seconds,
        plan_cpu_s=watch.planned_cpu_s / jobs,
        launch_cpu_s=(watch.launcher_cpu_s - watch.planned_cpu_s) / jobs,
        head_cpu_s=watch.head_cpu_s / jobs,
        worker_mib=statistics.median(watch.worker_mib),
        launcher_mib=watch.launcher_mib,
        fleet_command_s=fleet_command_s,
        wall_s=time.monotonic() - started,
        **_dispatch(lines, devices=devices, seconds=seconds),
    )


def _dispatch(lines: list[dict[str, float]], *, devices: int, seconds: float) -> dict[str, float]:
    """Return how fast devices got their jobs, from the times that the jobs recorded."""
    by_device: dict[object, list[tuple[float, float]]] = defaultdict(list)
    for line in lines:
        by_device[line["device"]].append((line["began"], line["ended"]))
    firsts = [min(spans)[0] for spans in by_device.values()]
    gaps = []
    for spans in by_device.values():
        ordered = sorted(spans)
        gaps += [after[0] - before[1] for before, after in pairwise(ordered)]
    per_device = [(seconds * len(spans)) / (max(spans)[1] - min(spans)[0]) for spans in by_device.values()]
    if len(by_device) != devices or min(gaps, default=0.0) < 0:
        raise RuntimeError(f"{len(by_device)} devices had jobs, and the smallest gap is {min(gaps, default=0.0)} s")
    return {
        "first_wave_s": max(firsts) - min(firsts),
        "gap_median_s": float(np.median(gaps)),
        "gap_p95_s": float(np.quantile(gaps, 0.95)),
        "busy": float(np.mean(per_device)),
    }


def _head_cpu_s(fleet: Fleet) -> float:
    """Return the CPU time of the cluster's servers so far."""
    total = 0.0
    for process in processes_of(fleet.folder):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.name() in HEAD:
                total += _cpu_s(process)
    return total


def _fleet_command_s(environ: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run([FRM_MLFLOW, "fleet", "--json"], env=environ, capture_output=True, check=True)
    return time.monotonic() - began


def table(cost: Cost, *, job_s: float = 30.0) -> str:
    """Return the figures, and how many devices each part can keep busy on one core with jobs of `job_s` seconds."""
    per_job = {"launching": cost.launch_cpu_s, "Ray's servers": cost.head_cpu_s}
    lines = [f"{name:16} {value:10.4g}" for name, value in asdict(cost).items()]
    lines += [
        f"{name:16} {1 / seconds:8.1f} jobs/s on one core: {job_s / seconds:8.0f} devices with jobs of {job_s:g} s"
        for name, seconds in per_job.items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Simulate a fleet and print its overhead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--jobs-each", type=int, default=3, choices=range(2, len(MODELS) + 1))
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a job takes")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--check", action="store_true", help="exit with 1 if devices are busy less than 90 %%")
    add_option(parser)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that no node keeps running
    with tempfile.TemporaryDirectory(prefix="frm-fleet-") as scratch:
        cost = simulate(arguments.devices, arguments.jobs_each, arguments.seconds, Path(scratch))
    print(table(cost))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(cost), indent=1))
    return 1 if arguments.check and cost.busy < 0.9 else 0


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
