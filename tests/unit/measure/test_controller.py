from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulation import Machine, SimulatedWorker, exported_model

from frm_mlflow.config import MeasureConfig, RuntimeConfig
from frm_mlflow.devices import Device
from frm_mlflow.errors import DeviceMismatchError, IdentityError, WorkerError
from frm_mlflow.measure import Measurement, benchmark

CPU = Device("cpu", "cpu", "cpu", "a chip", "cpu")
GPU = Device("h200", "gpu", "cuda", "NVIDIA H200", "gpu", 1)


class Bench:
    """A simulated machine with a baseline of 40 ms and a model of 10 ms."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine()
        self.model_path = exported_model(folder / "model", "small")
        self.baseline_path = exported_model(folder / "baseline", "big")
        self.workers: dict[str, SimulatedWorker] = {}
        self.opened: list[SimulatedWorker] = []
        self.luck: Callable[[str], float] = lambda role: 1.0
        self.settings: dict[str, dict[str, Any]] = {"model": {"latency_ms": 10.0}, "baseline": {"latency_ms": 40.0}}

    def open(self, role: str) -> SimulatedWorker:
        settings = self.settings[role]
        lucky = settings | {"latency_ms": settings["latency_ms"] * self.luck(role)}
        self.workers[role] = SimulatedWorker(self.machine, role, **lucky)
        self.opened.append(self.workers[role])
        return self.workers[role]

    def run(
        self, *, launches: int = 1, alone: bool = False, device: Device = CPU, on_progress=None, **config
    ) -> Measurement:
        return benchmark(
            exported_model=self.model_path,
            baseline=None if alone else self.baseline_path,
            device=device,
            runtime=RuntimeConfig("torch", threads=2, options={"mode": "fast"}),
            config=MeasureConfig(**({"resamples": 300, "launches": launches} | config)),
            rng=np.random.default_rng(0),
            open_worker=self.open,
            clock=self.machine.clock,
            on_progress=on_progress,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_ratio_is_right_with_its_interval(bench: Bench):
    speeds = iter([1.0, 1.0, 1.002, 0.999, 1.001, 1.003])
    bench.luck = lambda role: next(speeds)
    found = bench.run(launches=3).metrics
    assert found["ratio/latency"] == pytest.approx(0.25, rel=0.01)
    assert found["ratio/latency_low"] <= found["ratio/latency"] <= found["ratio/latency_high"]
    assert found["latency/p50_ms"] == pytest.approx(10, rel=0.01)
    assert found["latency/samples"] >= 100


def test_the_ratio_does_not_see_a_machine_that_slows_down(bench: Bench):
    bench.machine.slowness = lambda seconds: 1 + seconds / 5
    measured = bench.run()
    assert measured.metrics["ratio/latency"] == pytest.approx(0.25, rel=0.01)
    assert measured.metrics["latency/p50_ms"] > 12
    assert any(remark.startswith("drift") for remark in measured.remarks)
    assert not any("drift" in reason for reason in measured.unstable)


def test_baseline_and_model_take_turns(bench: Bench):
    bench.run()
    blocks = [role for role, command in bench.machine.log if command == "run_block"]
    assert len(blocks) >= 41
    assert blocks == ["baseline", "model"] * (len(blocks) // 2) + ["baseline"]


def test_everything_is_verified_before_anything_is_timed(bench: Bench):
    bench.run()
    commands = [command for _, command in bench.machine.log]
    assert commands.index("run_block") > max(k for k, c in enumerate(commands) if c in ("verify", "warm_up"))
    assert commands[-4:] == ["memory", "memory", "energy", "energy"]


def test_both_sides_metrics_and_every_sample_are_kept(bench: Bench):
    bench.settings["model"]["peak_mib"] = 25.0
    measured = bench.run()
    assert measured.metrics["ratio/memory"] == 0.25
    assert measured.baseline_metrics["memory/peak_mib"] == 100.0
    assert not any(key.startswith("ratio/") for key in measured.baseline_metrics)
    samples = measured.samples
    assert list(samples.columns) == ["role", "launch", "block", "index", "wall_ns", "cpu_ns", "device_ns"]
    model = samples[samples["role"] == "model"]
    assert len(model) == measured.metrics["latency/samples"]
    assert np.median(model["wall_ns"]) / 1e6 == measured.metrics["latency/p50_ms"]
    assert model[["block", "index"]].duplicated().sum() == 0
    assert samples["device_ns"].isna().all()


def test_memory_is_defined_and_versions_are_the_runtimes(bench: Bench):
    measured = bench.run()
    assert measured.memory_definition == "rss_peak"
    assert measured.runtime_version == "3.2"
    assert measured.facts["threads"] == 2
    assert bench.workers["model"].loaded_with["options"] == {"mode": "fast"}


def test_alone_a_model_is_its_own_baseline(bench: Bench):
    measured = bench.run(alone=True)
    ratios = {key: value for key, value in measured.metrics.items() if key.startswith("ratio/")}
    assert set(ratios.values()) == {1.0}
    ends = {f"ratio/{part}{end}" for part in ("latency", "memory") for end in ("", "_low", "_high")}
    assert set(ratios) == ends
    assert measured.baseline_metrics == {}
    assert set(measured.samples["role"]) == {"model"}


def test_a_quiet_machine_stops_as_soon_as_the_runs_are_made(bench: Bench):
    assert bench.run().metrics["latency/samples"] == 100


def test_a_noisy_machine_runs_until_the_interval_is_narrow(bench: Bench):
    for role in bench.settings:
        bench.settings[role]["noise"] = 0.15
    measured = bench.run(target_interval=0.02)
    found = measured.metrics
    assert found["latency/samples"] > 100
    assert not any("interval" in reason for reason in measured.unstable)


def test_one_launch_has_no_interval(bench: Bench):
    """One launch does not show how the next one would differ."""
    bench.luck = lambda role: 1.0
    for alone in (False, True):
        keys = {key for key in bench.run(alone=alone).metrics if key.endswith(("_low", "_high", "_low_ms", "_high_ms"))}
        assert {key for key in keys if "latency" in key} == (
            {"ratio/latency_low", "ratio/latency_high"} if alone else set()
        )


@pytest.mark.parametrize("cap", [{"max_runs": 150}, {"max_seconds": 4.0}])
def test_a_cap_ends_it_and_is_told(bench: Bench, cap: dict[str, float]):
    for role in bench.settings:
        bench.settings[role]["noise"] = 0.5
    measured = bench.run(target_interval=0.001, **cap)
    assert "interval within the only launch wider than 0.1%" in measured.unstable
    assert 100 <= measured.metrics["latency/samples"] <= 160


def test_the_least_runs_are_made_even_past_the_cap(bench: Bench):
    assert bench.run(max_seconds=0.01).metrics["latency/samples"] == 100


def test_quantiles_appear_with_their_samples(bench: Bench):
    assert {"latency/p90_ms"} == {key for key in bench.run().metrics if key in ("latency/p90_ms", "latency/p95_ms")}
    assert "latency/p99_ms" in bench.run(runs=700).metrics


def test_throughput_is_for_batches(bench: Bench):
    assert "throughput/items_per_s" not in bench.run().metrics
    found = bench.run(batch_size=8).metrics
    assert found["throughput/items_per_s"] == pytest.approx(8 / (found["latency/mean_ms"] / 1e3))


def test_a_gpu_has_its_own_clock_and_memory(bench: Bench):
    for role in bench.settings:
        bench.settings[role]["device_events"] = True
    measured = bench.run(device=GPU)
    assert measured.metrics["latency/device_p50_ms"] == pytest.approx(
        0.9 * measured.metrics["latency/p50_ms"], rel=1e-3
    )
    assert measured.metrics["memory/peak_mib"] == measured.metrics["memory/device_mib"] == 200.0
    assert measured.memory_definition == "allocator_over_base"
    assert bench.workers["model"].loaded_with["device"] == "cuda"
    assert bench.workers["model"].loaded_with["index"] == 1


def test_another_function_is_refused_before_it_is_timed(bench: Bench):
    bench.settings["model"]["cosine"] = 0.3
    with pytest.raises(IdentityError, match="'small'"):
        bench.run()
    assert "run_block" not in {command for _, command in bench.machine.log}


@pytest.mark.parametrize("role", ["model", "baseline"])
@pytest.mark.parametrize("command", ["load", "warm_up", "run_block", "memory"])
def test_a_worker_that_fails_leaves_none_open(bench: Bench, role: str, command: str):
    bench.settings[role]["fails_at"] = command
    with pytest.raises(WorkerError, match=f"the {role} fell over"):
        bench.run()
    assert all(worker.is_closed for worker in bench.workers.values())
    assert len(bench.opened) == 2


def test_a_model_that_never_settles_is_flagged(bench: Bench):
    bench.settings["baseline"]["settled"] = False
    assert "baseline not warmed up" in bench.run().unstable


def test_progress_is_told(bench: Bench):
    told: list[str] = []
    bench.run(on_progress=told.append)
    assert told[0] == "loading big and small"
    assert told[-1].startswith("100 runs, ratio 0.2")


def test_energy_is_of_one_call_where_there_is_a_meter(bench: Bench):
    for role, energy_mj in (("model", 30.0), ("baseline", 90.0)):
        bench.settings[role]["energy_mj"] = energy_mj
    measured = bench.run()
    assert measured.metrics["energy/per_inference_mj"] == pytest.approx(30.0)
    assert measured.metrics["ratio/energy"] == pytest.approx(1 / 3)
    assert measured.energy_meter == "zeus:rapl"
    assert measured.facts["model"]["energy"]["seconds"] == 5.0


def test_without_a_meter_there_is_no_energy(bench: Bench):
    measured = bench.run()
    assert not any("energy" in key for key in measured.metrics)
    assert measured.energy_meter == ""


def test_energy_that_is_not_wanted_is_not_asked_for(bench: Bench):
    bench.settings["model"]["energy_mj"] = 30.0
    assert "energy/per_inference_mj" not in bench.run(energy_seconds=0.0).metrics
    assert "energy" not in {command for _, command in bench.machine.log}


def test_sustained_mode_follows_the_model_alone(bench: Bench):
    bench.machine.slowness = lambda seconds: 1.0 if seconds < 40 else 1.5
    measured = bench.run(sustained_seconds=60.0)
    assert measured.metrics["sustained/drop"] == pytest.approx(0.5, abs=0.02)
    assert measured.metrics["sustained/seconds"] >= 60
    assert measured.sustained is not None
    assert bench.run().sustained is None


def test_the_runs_are_shared_among_launches_of_fresh_workers(bench: Bench):
    measured = bench.run(launches=5)
    assert len(bench.opened) == 10
    assert all(worker.is_closed for worker in bench.opened)
    assert measured.metrics["latency/launches"] == 5
    assert measured.metrics["latency/samples"] == 100
    samples = measured.samples
    assert samples[samples["role"] == "model"].groupby("launch").size().tolist() == [20] * 5
    blocks = samples.groupby(["role", "launch"])["block"].nunique()
    assert (blocks["baseline"] == blocks["model"] + 1).all()
    assert samples[["role", "block", "index"]].duplicated().sum() == 0
    assert len(measured.facts["model"]["warm_up"]) == 5


def test_each_launch_is_verified_and_only_the_last_is_metered(bench: Bench):
    bench.run(launches=3)
    commands = [command for role, command in bench.machine.log if role == "model"]
    assert [commands.count(c) for c in ("load", "verify", "memory", "energy")] == [3, 3, 3, 1]
    assert commands[-1] == "energy"


def test_the_interval_of_launches_covers_their_differences(bench: Bench):
    """Each process start makes a model a few per cent faster or slower for the life of the process."""
    rng = np.random.default_rng(1)
    bench.luck = lambda role: float(np.exp(0.03 * rng.standard_normal()))
    covered = 0
    for _ in range(40):
        found = bench.run(launches=5, target_interval=1.0).metrics
        covered += found["ratio/latency_low"] <= 0.25 <= found["ratio/latency_high"]
    assert covered >= 34


def test_luck_of_the_start_asks_for_further_launches(bench: Bench):
    rng = np.random.default_rng(2)
    bench.luck = lambda role: float(np.exp(0.02 * rng.standard_normal()))
    measured = bench.run(launches=5, target_interval=0.02)
    assert measured.metrics["latency/launches"] > 5
    assert not any("interval" in reason for reason in measured.unstable)


def test_a_cap_ends_the_launches_too(bench: Bench):
    rng = np.random.default_rng(2)
    bench.luck = lambda role: float(np.exp(0.2 * rng.standard_normal()))
    measured = bench.run(launches=5, target_interval=0.001, max_runs=140)
    assert measured.metrics["latency/launches"] == 7
    assert "interval wider than 0.1%" in measured.unstable


def test_the_peak_of_memory_is_the_launches_median(bench: Bench):
    peaks = iter([100.0, 103.0, 170.0])
    opened = bench.open

    def open_with_a_peak(role: str) -> SimulatedWorker:
        if role == "model":
            bench.settings["model"]["peak_mib"] = next(peaks)
        return opened(role)

    bench.open = open_with_a_peak  # type: ignore[method-assign]
    assert bench.run(launches=3).metrics["memory/peak_mib"] == 103.0


def test_what_takes_long_to_load_is_launched_less_often(bench: Bench):
    for role in bench.settings:
        bench.settings[role]["load_seconds"] = 20.0
    measured = bench.run(launches=5)
    assert measured.metrics["latency/launches"] == 1
    assert measured.metrics["latency/samples"] == 100


def test_what_only_the_first_launch_spends_costs_no_launch(bench: Bench):
    """Filling a compiler's cache: a second benchmark must not differ from the first."""
    bench.settings["model"]["once_seconds"] = 50.0
    measured = bench.run(launches=5)
    assert measured.metrics["latency/launches"] == 5


def test_a_launch_is_timed_for_as_long_as_it_took_to_prepare(bench: Bench):
    for role in bench.settings:
        bench.settings[role]["load_seconds"] = 2.0
    measured = bench.run(launches=5)
    assert measured.metrics["latency/launches"] == 5
    assert 5 * 4.0 <= measured.facts["seconds"]["timed"] <= 5 * 5.0
    assert measured.metrics["latency/samples"] > 200


def test_long_preparing_leaves_only_the_share_of_the_runs(bench: Bench):
    for role in bench.settings:
        bench.settings[role]["load_seconds"] = 6.0
    measured = bench.run(launches=5, max_seconds=60.0)
    assert measured.metrics["latency/launches"] == 5
    assert measured.metrics["latency/samples"] == 100


def test_a_launch_that_fails_leaves_none_open(bench: Bench):
    opened = bench.open

    def open_one_that_falls_over_later(role: str) -> SimulatedWorker:
        bench.settings["model"]["fails_at"] = "run_block" if len(bench.opened) >= 4 else ""
        return opened(role)

    bench.open = open_one_that_falls_over_later  # type: ignore[method-assign]
    with pytest.raises(WorkerError, match="the model fell over"):
        bench.run(launches=5)
    assert len(bench.opened) == 6
    assert all(worker.is_closed for worker in bench.opened)


ON_CPU = {"kind": "cpu", "unit": "cpu", "provider": "CPUExecutionProvider", "nodes": {"cpu": 12}}


def test_a_model_that_does_not_run_on_the_device_is_refused(bench: Bench):
    bench.settings["model"]["placement"] = ON_CPU
    with pytest.raises(DeviceMismatchError, match=r"h200 is a GPU.*runs the model on a processor"):
        bench.run(device=GPU)
    assert ("model", "run_block") not in bench.machine.log
    assert all(worker.is_closed for worker in bench.opened)


def test_on_a_gpu_one_is_ready_before_the_other_loads(bench: Bench):
    bench.run(device=GPU)
    before_timing = bench.machine.log[: bench.machine.log.index(("baseline", "run_block"))]
    assert [role for role, _ in before_timing] == ["baseline"] * 3 + ["model"] * 3
    assert [command for _, command in before_timing] == ["load", "verify", "warm_up"] * 2


def test_throttling_and_strangers_on_the_gpu_are_flagged(bench: Bench):
    bench.settings["model"]["readings"] = [{"gpu_throttle_reasons": 4.0, "gpu_processes": 3.0}]
    flags = " ".join(bench.run(device=GPU).unstable)
    assert "throttled by power cap in 100% of readings" in flags
    assert "other processes on the GPU: 1" in flags
