"""Measures one model beside the baseline: load, verify, warm up, take turns, stop in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frm_mlflow.config import MeasureConfig, RuntimeConfig
from frm_mlflow.devices import Device, conditions
from frm_mlflow.devices.client import Worker
from frm_mlflow.devices.hardware import allowed_cpus, physical_cores
from frm_mlflow.devices.local import open_local
from frm_mlflow.measure import estimate
from frm_mlflow.measure.blocks import runs_in_block
from frm_mlflow.measure.estimate import Interval
from frm_mlflow.measure.participant import Participant
from frm_mlflow.measure.result import BASELINE, MODEL, Identity, Measurement
from frm_mlflow.measure.stability import instabilities
from frm_mlflow.measure.summary import (
    energy_metrics,
    latency_metrics,
    memory_metrics,
    ratio_metrics,
    sustained_metrics,
)
from frm_mlflow.measure.sustained import Sustained, sustain

OpenWorker = Callable[[str], Worker]
"""Role → a worker that was started for it."""
Clock = Callable[[], int]
Progress = Callable[[str], None]

_CHECK_EVERY = 5
"""Pairs between two looks at the interval."""
_NO_ENERGY: dict[str, Any] = {"meter": None}


def benchmark(
    *,
    artefact: Path,
    baseline: Path | None,
    device: Device,
    runtime: RuntimeConfig,
    config: MeasureConfig,
    rng: np.random.Generator,
    open_worker: OpenWorker | None = None,
    clock: Clock = time.perf_counter_ns,
    on_progress: Progress | None = None,
) -> Measurement:
    """Return the measurement of `artefact`, relative to `baseline` where one is given.

    The baseline's and the model's workers take turns in blocks, so that what the machine does
    meanwhile happens to both; every block of the model stands between two of the baseline.
    Without a baseline the model is measured alone: its ratios are 1 with the interval [1, 1],
    which is right for the baseline's own run.

    Raises
    ------
    WorkerError
        Where a worker crashes, hangs, answers garbage, runs out of memory or reports an error.
    IdentityError
        Where an artefact computes something else than the torch reference.
    MissingExtraError
        Where the runtime is not installed.
    """
    threads = runtime.threads or physical_cores(allowed_cpus())
    opener = open_worker or _local_opener(runtime, threads)
    tell = on_progress or _silent
    phases = _Phases(clock)
    with ExitStack() as stack:

        def participant(role: str, directory: Path) -> Participant:
            worker = stack.enter_context(closing(opener(role)))
            return Participant(role, worker, directory, config.timeout_s)

        model = participant(MODEL, artefact)
        pair = [participant(BASELINE, baseline), model] if baseline is not None else [model]
        phases.done("start")
        identities = _prepare(pair, device=device, runtime=runtime, threads=threads, config=config, tell=tell)
        phases.done("load_and_warm_up")
        before = conditions(device)
        interval = _take_turns(pair, config=config, rng=rng, clock=clock, tell=tell)
        phases.done("timed")
        after = conditions(device)
        memories = [p.memory() for p in pair]
        energies = [p.energy(config.energy_seconds) if config.energy_seconds else _NO_ENERGY for p in pair]
        sustained = _sustained(model, device=device, config=config, clock=clock)
        phases.done("memory_and_energy")
    phases.done("close")
    return _measurement(
        pair,
        identities=identities,
        memories=memories,
        energies=energies,
        sustained=sustained,
        interval=interval,
        device=device,
        config=config,
        rng=rng,
        facts={"threads": threads, "seconds": phases.seconds, "before": before, "after": after},
    )


def _prepare(
    pair: list[Participant],
    *,
    device: Device,
    runtime: RuntimeConfig,
    threads: int,
    config: MeasureConfig,
    tell: Progress,
) -> list[Identity]:
    """Load, verify and warm up each, and plan the blocks."""
    identities = []
    for participant in pair:
        tell(f"loading {participant.manifest.model}")
        participant.load(device=device, runtime=runtime, threads=threads)
        identities.append(participant.verify())
        participant.warm_up(config)
        median_s = participant.warmed["median_ns"] / 1e9
        participant.runs = runs_in_block(median_s, runs=config.runs, block_seconds=config.block_seconds)
    return identities


def _take_turns(
    pair: list[Participant], *, config: MeasureConfig, rng: np.random.Generator, clock: Clock, tell: Progress
) -> Interval:
    """Time blocks in turn until the stopping rule holds; return the interval that it looked at last."""
    model, around = pair[-1], pair[:-1]
    deadline = clock() + round(config.max_seconds * 1e9)
    for baseline in around:
        baseline.block()
    while True:
        model.block()
        for baseline in around:
            baseline.block()
        if model.samples < config.runs:
            continue
        over = model.samples >= config.max_runs or clock() >= deadline
        if over or len(model.blocks) % _CHECK_EVERY == 0:
            interval = _interval(pair, config=config, rng=rng)
            tell(f"{model.samples} runs, {_progress(pair, interval)}")
            if over or interval.relative_half_width <= config.target_interval:
                return interval


def _interval(pair: list[Participant], *, config: MeasureConfig, rng: np.random.Generator) -> Interval:
    """Return the interval that the stopping rule is about: of the ratio, or of the median where there is none."""
    model, confidence, resamples = pair[-1], config.confidence, config.resamples
    if len(pair) == 1:
        wall_ns = model.times("wall_ns")
        return estimate.median_interval(wall_ns, confidence=confidence, resamples=resamples, rng=rng)
    medians = model.block_medians(), pair[0].block_medians()
    return estimate.ratio_interval(*medians, confidence=confidence, resamples=resamples, rng=rng)


def _measurement(
    pair: list[Participant],
    *,
    identities: list[Identity],
    memories: list[dict[str, Any]],
    energies: list[dict[str, Any]],
    sustained: Sustained | None,
    interval: Interval,
    device: Device,
    config: MeasureConfig,
    rng: np.random.Generator,
    facts: dict[str, Any],
) -> Measurement:
    metrics, definitions = [], []
    for participant, memory, energy in zip(pair, memories, energies, strict=True):
        of_memory, definition = memory_metrics(memory, kind=device.kind)
        metrics.append(latency_metrics(participant, config=config, rng=rng) | of_memory | energy_metrics(energy))
        definitions.append(definition)
    model, own = pair[-1], metrics[-1]
    alone = len(pair) == 1
    ratio = Interval(1.0, 1.0, 1.0) if alone else interval
    return Measurement(
        metrics=own | ratio_metrics(ratio, own, own if alone else metrics[0]) | sustained_metrics(sustained),
        baseline_metrics={} if alone else metrics[0],
        samples=pd.concat([p.table() for p in pair], ignore_index=True),
        unstable=_unstable(pair, interval, config=config, on_cpu=device.kind == "cpu"),
        versions=model.loaded["versions"],
        identity=identities[-1],
        baseline_identity=None if alone else identities[0],
        memory_definition=definitions[-1],
        energy_meter=energies[-1]["meter"] or "",
        sustained=sustained.series if sustained else None,
        facts=facts | {p.role: _facts(p) | {"energy": e} for p, e in zip(pair, energies, strict=True)},
    )


def _sustained(model: Participant, *, device: Device, config: MeasureConfig, clock: Clock) -> Sustained | None:
    if not config.sustained_seconds:
        return None
    return sustain(model, seconds=config.sustained_seconds, clock=clock, conditions=lambda: conditions(device))


def _unstable(pair: list[Participant], interval: Interval, *, config: MeasureConfig, on_cpu: bool) -> tuple[str, ...]:
    """Return every reason to doubt the figures: of the model, of the baseline, of the interval."""
    reasons = [
        reason if p.role == MODEL else f"{p.role} {reason}"
        for p in reversed(pair)
        for reason in instabilities(p.times("wall_ns"), p.times("cpu_ns"), on_cpu=on_cpu)
    ]
    reasons += [f"{p.role} not warmed up" for p in pair if not p.warmed["settled"]]
    if interval.relative_half_width > config.target_interval:
        reasons.append(f"interval wider than {config.target_interval:.1%}")
    return tuple(reasons)


def _facts(participant: Participant) -> dict[str, Any]:
    return {
        "runtime": participant.loaded["facts"],
        "load_seconds": participant.loaded["seconds"],
        "memory_base_mib": participant.loaded["base_mib"],
        "warm_up": participant.warmed,
        "runs_in_block": participant.runs,
    }


def _progress(pair: list[Participant], interval: Interval) -> str:
    name, unit, scale = ("median", " ms", 1e-6) if len(pair) == 1 else ("ratio", "", 1.0)
    return f"{name} {interval.value * scale:.4g}{unit} ± {interval.relative_half_width:.1%}"


def _local_opener(runtime: RuntimeConfig, threads: int) -> OpenWorker:
    affinity = runtime.options.get("affinity")
    limit = runtime.options.get("memory_limit_mib")
    return lambda role: open_local(name=f"{role}'s worker", threads=threads, affinity=affinity, memory_limit_mib=limit)


def _silent(message: str) -> None:
    """Tell nobody."""


class _Phases:
    """Seconds that each phase took, for the overhead to be seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock()
        self.seconds: dict[str, float] = {}

    def done(self, phase: str) -> None:
        now = self._clock()
        self.seconds[phase] = (now - self._last) / 1e9
        self._last = now
