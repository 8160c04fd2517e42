"""Measure the harness's overhead over bare timing of the same session, and compare it with optimum-benchmark's.

    python -m benchmarks.overhead            # prints the figures
    python -m benchmarks.overhead --check    # also exits with 1 if a target is missed
    python -m benchmarks.overhead --no-peer  # without optimum-benchmark

1. Latency: mobilenet_v3_small in ONNX Runtime with one thread, measured by a full benchmark next to the
   baseline, relative to a plain timing loop right before and right after it. Some of a process's speed
   is fixed when it starts, so the plain loop runs in as many fresh processes as a benchmark has
   launches. Target: at most 3 % more.
2. Time outside the timed runs (process start, load, verification, warm-up, statistics, logging
   to SQLite), with the export cached. Target: at most optimum-benchmark's on the same file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from benchmarks import optimum_peer
from benchmarks.results import add_option, recorded
from frm_mlflow import schema
from frm_mlflow.config import MeasureConfig, ModelConfig, RuntimeConfig
from frm_mlflow.devices import Device
from frm_mlflow.export import ExportCache, export
from frm_mlflow.measure import Measurement, benchmark
from frm_mlflow.records import BenchmarkRecord, Configuration
from frm_mlflow.tracking.run_files import RunFiles
from frm_mlflow.tracking.runs import open_sweep
from frm_mlflow.tracking.server import connect
from frm_mlflow.worker.manifest import ExportedModel

MODEL, BASELINE, RUNTIME = "mobilenet_v3_small", "resnet50", "onnxruntime"
LARGEST_OVERHEAD = 0.03
CPU = Device("cpu", "cpu", "cpu", "", "cpu")

BARE = """
import sys, time, statistics
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feed = {i.name: np.ones(i.shape, np.float32) for i in session.get_inputs()}
binding = session.io_binding()
for name, array in feed.items():
    binding.bind_cpu_input(name, array)
for output in session.get_outputs():
    binding.bind_output(output.name)
end = time.perf_counter() + 0.5
while time.perf_counter() < end:
    session.run_with_iobinding(binding)
times = []
end = time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:
    start = time.perf_counter()
    session.run_with_iobinding(binding)
    times.append(time.perf_counter() - start)
print(statistics.median(times))
"""
"""What onnxruntime_perf_test does, in Python: one session, a warm-up, and a loop that times each call."""


def bare_median_s(onnx_file: Path, seconds: float) -> float:
    """Return the median over fresh processes of the plain loop's medians, one process per launch of a benchmark."""
    command = [sys.executable, "-c", BARE, str(onnx_file), str(seconds)]
    launches = MeasureConfig().launches
    return statistics.median(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(launches)
    )


def measured(exported_model: Path, baseline: Path | None) -> tuple[Measurement, float]:
    """Return our measurement with default settings, and the seconds that it took."""
    started = time.perf_counter()
    found = benchmark(
        exported_model=exported_model,
        baseline=baseline,
        device=CPU,
        runtime=RuntimeConfig(RUNTIME, threads=1),
        config=MeasureConfig(energy_seconds=0.0),
        rng=np.random.default_rng(0),
    )
    return found, time.perf_counter() - started


def latency_overhead(exported_model: Path, baseline: Path, *, repeats: int, bare_seconds: float) -> list[float]:
    """Return for each repeat: our median over the geometric mean of the plain medians around it, minus one."""
    file = exported_model / ExportedModel.read(exported_model).file
    overheads = []
    before = bare_median_s(file, bare_seconds)
    for _ in range(repeats):
        ours_s = measured(exported_model, baseline)[0].metrics[schema.LATENCY_P50.key] / 1e3
        after = bare_median_s(file, bare_seconds)
        overheads.append(ours_s / np.sqrt(before * after) - 1)
        before = after
    return overheads


def our_other_seconds(exported_model: Path, baseline: Path | None) -> float:
    """Return the seconds of one benchmark outside its and the baseline's timed calls, including logging."""
    found, total = measured(exported_model, baseline)
    timed = float(found.samples["wall_ns"].sum()) / 1e9
    return total - timed + _logging_seconds(found)


def _logging_seconds(found: Measurement) -> float:
    """Log the measurement to an existing SQLite store, as in a sweep, and return the seconds that it took."""
    now = datetime.now(timezone.utc)
    record = BenchmarkRecord(
        model=MODEL,
        family="mobile_cnn",
        configuration=Configuration(device="cpu", tier="cpu", runtime=RUNTIME, precision="fp32"),
        metrics=found.metrics,
        source=schema.SOURCE_MEASURED,
        identity={"at": now.isoformat()},
        start_time=now,
        end_time=now,
    )
    with tempfile.TemporaryDirectory() as folder:
        client = connect(f"sqlite:///{folder}/mlflow.db")
        with open_sweep(client, "overhead", name="overhead", spool=Path(folder) / "spool") as sweep:
            started = time.perf_counter()
            with sweep.benchmark(name=MODEL) as run:
                run.finish(record, RunFiles(samples=found.samples))
            return time.perf_counter() - started


def peer_other_seconds(exported_model: Path) -> float:
    """Return the seconds of optimum-benchmark outside its timed calls; it does not log."""
    found = optimum_peer.latency(exported_model / ExportedModel.read(exported_model).file, runs=100, threads=1)
    return found.total_s - found.timed_s


def main() -> int:
    """Measure and print, and check the targets if requested."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bare-seconds", type=float, default=1.0)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--check", action="store_true")
    add_option(parser)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    cache = ExportCache()
    model, baseline = (export(ModelConfig(name), runtime=RUNTIME, cache=cache) for name in (MODEL, BASELINE))
    overheads = latency_overhead(model, baseline, repeats=options.repeats, bare_seconds=options.bare_seconds)
    overhead = float(np.median(overheads))
    print(f"latency over bare timing: {overhead:+.1%} (of {[f'{o:+.1%}' for o in overheads]})")
    missed = [f"the harness adds {overhead:.1%} to latency"] if overhead > LARGEST_OVERHEAD else []

    with_baseline, alone = our_other_seconds(model, baseline), our_other_seconds(model, None)
    print(f"seconds outside of timed runs: {with_baseline:.1f} including the baseline, {alone:.1f} for the model alone")
    if not options.no_peer:
        peer = float(np.median([peer_other_seconds(model) for _ in range(options.repeats)]))
        print(f"optimum-benchmark's: {peer:.1f}")
        missed += [f"{with_baseline:.1f} s outside of timed runs, the peer {peer:.1f}"] if with_baseline > peer else []
    for miss in missed if options.check else []:
        print(f"missed: {miss}")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
