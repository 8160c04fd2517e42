"""What a gate uses from a contended measurement: CPU time, per launch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.gate import wall_time as undisturbed
from frm_mlflow.measure import Identity, Measurement


def samples(launches: int, rng: np.random.Generator, *, calls: int = 5) -> pd.DataFrame:
    """A quarter of the baseline's CPU time, seven tenths of its wall time; machine speed differs between launches."""
    rows = []
    for launch in range(launches):
        speed = 2.0**launch
        for role, cpu_ms, wall_ms, blocks in (("baseline", 40.0, 100.0, 5), ("model", 10.0, 70.0, 4)):
            for block in range(blocks):
                for noise in 1 + 0.001 * rng.standard_normal(calls):
                    cpu, wall = speed * cpu_ms * 1e6 * noise, speed * wall_ms * 1e6 * noise
                    rows += [{"role": role, "launch": launch, "block": block, "cpu_ns": cpu, "wall_ns": wall}]
    return pd.DataFrame(rows)


def contended(launches: int, *, threads: int, calls: int = 5) -> Measurement:
    return Measurement(
        metrics={},
        baseline_metrics={},
        samples=samples(launches, np.random.default_rng(0), calls=calls),
        unstable=(),
        remarks=("contention 30.0%",),
        versions={},
        identity=Identity(1.0, 0.0, 0.0),
        facts={"threads": threads},
    )


@pytest.mark.parametrize("launches", [2, 3])
def test_contention_lets_cpu_time_decide_within_each_launch(launches: int):
    found = undisturbed.ratio([contended(launches, threads=1)], confidence=0.95)
    assert found.value == pytest.approx(0.25, rel=0.01)
    assert 0.24 < found.low <= found.value <= found.high < 0.26


def test_with_several_threads_both_clocks_count():
    found = undisturbed.ratio([contended(3, threads=2)], confidence=0.95)
    assert found.low < 0.26
    assert found.high == pytest.approx(0.7, rel=0.01)


def test_one_thread_that_waits_for_its_core_is_contended_without_being_flagged():
    quiet = replace(contended(3, threads=1), remarks=())
    assert undisturbed.is_contended([quiet])
    undisturbed_samples = quiet.samples.assign(wall_ns=quiet.samples.cpu_ns)
    assert not undisturbed.is_contended([replace(quiet, samples=undisturbed_samples)])
    on_accelerator = quiet.samples.assign(device_ns=quiet.samples.cpu_ns)
    assert not undisturbed.is_contended([replace(quiet, samples=on_accelerator)])


def test_rounds_are_one_sample_of_launches():
    rounds = [contended(3, threads=1), contended(3, threads=1)]
    one, both = (undisturbed.ratio(part, confidence=0.95) for part in (rounds[:1], rounds))
    assert both.high - both.low < one.high - one.low


def test_rounds_may_have_blocks_of_another_size():
    """Each round sets its calls per block by the machine's current speed."""
    rounds = [contended(2, threads=1), contended(2, threads=1, calls=7)]
    assert undisturbed.ratio(rounds, confidence=0.95).value == pytest.approx(0.25, rel=0.01)
    found = undisturbed.latency_ms(rounds, confidence=0.95)
    assert found.low < 20.1 < found.value
