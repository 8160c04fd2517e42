"""Measures one model against the baseline: load, verify, warm up, alternate, stop in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frm_mlflow.analysis.interval import Interval
from frm_mlflow.config import MeasureConfig, RuntimeConfig
from frm_mlflow.devices import Device, LocalHost, WorkerHost
from frm_mlflow.devices.client import Worker
from frm_mlflow.devices.resolve import CUDA
from frm_mlflow.measure.gpu_stability import gpu_instabilities
from frm_mlflow.measure.participant import Participant
from frm_mlflow.measure.result import BASELINE, MODEL, Identity, Measurement
from frm_mlflow.measure.stability import remarks
from frm_mlflow.measure.stopping import NOT_YET, StoppingRule
from frm_mlflow.measure.summary import (
    energy_metrics,
    latency_metrics,
    memory_metrics,
    memory_peaks,
    memory_ratio,
    ratio_metrics,
    sustained_metrics,
)
from frm_mlflow.measure.sustained import Sustained, sustain

OpenWorker = Callable[[str], Worker]
"""Starts and returns a worker for a role."""
Clock = Callable[[], int]
Progress = Callable[[str], None]

_NO_ENERGY: dict[str, Any] = {"meter": None}
_ITSELF = Interval(1.0, 1.0, 1.0)
"""The ratio of the baseline to itself."""


def benchmark(
    *,
    exported_model: Path,
    baseline: Path | None,
    device: Device,
    runtime: RuntimeConfig,
    config: MeasureConfig,
    rng: np.random.Generator,
    precision: str = "",
    host: WorkerHost | None = None,
    open_worker: OpenWorker | None = None,
    clock: Clock = time.perf_counter_ns,
    on_progress: Progress | None = None,
) -> Measurement:
    """Return the measurement of `exported_model`, relative to `baseline` if one is given.

    The baseline's and the model's workers alternate in blocks, so that changes in the machine's state
    affect both. Every block of the model is between two blocks of the baseline. The
    runs are split across several launches of fresh workers, since per-process effects such as memory
    layout persist for the life of a process.
    Without a baseline the model is measured alone, and its ratios are 1 with the interval [1, 1],
    which is correct for the run of the baseline itself. The workers run on `host`, by default this machine.
    `precision` is the requested one, by default that of the exported model: fp32 and tf32 share an exported model.

    Raises
    ------
    WorkerError
        If a worker crashes, hangs, returns garbage, runs out of memory or reports an error.
    IdentityError
        If the outputs of an exported model do not match the torch reference.
    MissingExtraError
        If the runtime is not installed.
    """
    host = host or LocalHost()
    threads = runtime.threads or host.hardware.physical_cores
    opener = open_worker or _opener(host, runtime, threads)
    setting = _Setting(host, device, runtime, threads, config, clock, on_progress or _silent)
    roles = [(MODEL, exported_model)] if baseline is None else [(BASELINE, baseline), (MODEL, exported_model)]
    pair = [Participant(role, directory, config.timeout_s, precision=precision) for role, directory in roles]
    rule = StoppingRule(config, rng, clock)
    phases = _Phases(clock)
    before = setting.conditions()
    finish = None
    while finish is None:
        finish = _launch(pair, opener, rule, setting, phases)
    facts = {"threads": threads, "seconds": phases.seconds, "before": before, "after": finish.conditions}
    return _measurement(pair, rule=rule, finish=finish, device=device, facts=facts)


@dataclass(frozen=True)
class _Setting:
    """Settings that are the same for every launch."""

    host: WorkerHost
    device: Device
    runtime: RuntimeConfig
    threads: int
    config: MeasureConfig
    clock: Clock
    tell: Progress

    def conditions(self) -> dict[str, float]:
        """Return the host's current load, clocks and temperatures."""
        return self.host.conditions(self.device)


@dataclass(frozen=True)
class _Finish:
    """Results of what the last launch does after its timed runs."""

    identities: list[Identity]
    conditions: Mapping[str, float]
    energies: list[dict[str, Any]]
    sustained: Sustained | None


def _launch(
    pair: list[Participant], opener: OpenWorker, rule: StoppingRule, setting: _Setting, phases: _Phases
) -> _Finish | None:
    """Start fresh workers, time this launch's share of the runs, stop them, and return the last launch's `_Finish`."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(len(pair)))  # exited last: a thread ends when its worker ends
        for participant in pair:
            participant.launch(stack.enter_context(closing(opener(participant.role))))
        phases.done("start")
        identities = _prepare(pair, setting, threads)
        phases.done("load_and_warm_up")
        rule.begin_launch(phases.total - max(p.now.loaded["once_seconds"] for p in pair))
        _take_turns(pair, rule)
        setting.tell(_progress(pair, rule))
        phases.done("timed")
        for participant in pair:
            participant.read_memory()
        finish = _finish(pair, identities, setting) if rule.enough else None
        phases.done("memory_and_energy")
    phases.done("close")
    return finish


def _prepare(pair: list[Participant], setting: _Setting, threads: Executor) -> list[Identity]:
    """Load and verify both, then warm them up one after the other; the first launch plans the blocks.

    On a CPU both load at the same time. On a GPU only one works at a time, warm-up included: cuDNN, TensorRT and
    torch.compile choose kernels by timing them there.
    """
    setting.tell(f"loading {' and '.join(participant.manifest.model for participant in pair)}")
    if setting.device.kind == CUDA:
        identities = [_load_and_warm_up(participant, setting) for participant in pair]
    else:
        identities = list(threads.map(lambda participant: _load(participant, setting), pair))
    for participant in pair:
        if setting.device.kind != CUDA:
            participant.warm_up(setting.config)
        if len(participant.launches) == 1:
            participant.plan_blocks(setting.config)
    return identities


def _load(participant: Participant, setting: _Setting) -> Identity:
    participant.load(device=setting.device, runtime=setting.runtime, threads=setting.threads)
    return participant.verify()


def _load_and_warm_up(participant: Participant, setting: _Setting) -> Identity:
    identity = _load(participant, setting)
    participant.warm_up(setting.config)
    return identity


def _finish(pair: list[Participant], identities: list[Identity], setting: _Setting) -> _Finish:
    """Record the machine's state, measure energy, and continue with sustained mode if it was requested."""
    after = setting.conditions()
    seconds = setting.config.energy_seconds
    energies = [p.energy(seconds) if seconds else _NO_ENERGY for p in pair]
    sustained = _sustained(pair[-1], setting)
    return _Finish(identities, after, energies, sustained)


def _take_turns(pair: list[Participant], rule: StoppingRule) -> None:
    """Time blocks alternately until this launch has done its share."""
    model, around = pair[-1], pair[:-1]
    for baseline in around:
        baseline.block()
    while True:
        model.block()
        for baseline in around:
            baseline.block()
        if rule.ends_launch(pair):
            return


def _measurement(
    pair: list[Participant], *, rule: StoppingRule, finish: _Finish, device: Device, facts: dict[str, Any]
) -> Measurement:
    config, identities, energies = rule.config, finish.identities, finish.energies
    metrics, definitions = [], []
    for participant, energy in zip(pair, energies, strict=True):
        of_memory, definition = memory_metrics(participant.memory(), kind=device.kind)
        of_latency = latency_metrics(participant, config=config, first=rule.launches)
        metrics.append(of_latency | of_memory | energy_metrics(energy))
        definitions.append(definition)
    model, model_metrics = pair[-1], metrics[-1]
    alone = len(pair) == 1
    peaks = {p.role: memory_peaks([each.memory for each in p.launches], kind=device.kind) for p in pair}
    ratio = _ITSELF if alone else rule.interval
    memory = memory_ratio(peaks[MODEL], peaks[pair[0].role], confidence=config.confidence)
    ratios = ratio_metrics(ratio, memory, model_metrics, model_metrics if alone else metrics[0])
    return Measurement(
        metrics=model_metrics | ratios | sustained_metrics(finish.sustained),
        baseline_metrics={} if alone else metrics[0],
        samples=pd.concat([p.table() for p in pair], ignore_index=True),
        unstable=_unstable(pair, rule) + gpu_instabilities([r for p in pair for r in p.readings()], workers=len(pair)),
        remarks=_remarks(pair, on_cpu=device.kind == "cpu"),
        versions=model.now.loaded["versions"],
        identity=identities[-1],
        baseline_identity=None if alone else identities[0],
        placed=model.placed,
        memory_definition=definitions[-1],
        energy_meter=energies[-1]["meter"] or "",
        sustained=finish.sustained.series if finish.sustained else None,
        facts=facts
        | {
            p.role: _facts(p) | {"memory_peak_mib": peaks[p.role], "energy": e}
            for p, e in zip(pair, energies, strict=True)
        },
    )


def _sustained(model: Participant, setting: _Setting) -> Sustained | None:
    seconds = setting.config.sustained_seconds
    if not seconds:
        return None
    return sustain(model, seconds=seconds, clock=setting.clock, conditions=setting.conditions)


def _unstable(pair: list[Participant], rule: StoppingRule) -> tuple[str, ...]:
    """Return why the ratio is uncertain: launches disagree, or calls were not fully warmed up."""
    reasons = [f"{p.role} not warmed up" for p in pair if not p.settled]
    if rule.half_width > rule.config.target_interval:
        of_what = "interval" if rule.interval.is_known else "interval within the only launch"
        reasons.append(f"{of_what} wider than {rule.config.target_interval:.1%}")
    return tuple(reasons)


def _remarks(pair: list[Participant], *, on_cpu: bool) -> tuple[str, ...]:
    """Return what disturbed the measured times of the model and of the baseline."""
    return tuple(
        remark if p.role == MODEL else f"{p.role} {remark}"
        for p in reversed(pair)
        for remark in remarks(p.by_launch("wall_ns"), p.times("cpu_ns"), on_cpu=on_cpu)
    )


def _facts(participant: Participant) -> dict[str, Any]:
    launches = participant.launches
    return {
        "runtime": launches[-1].loaded["facts"],
        "placement": launches[-1].loaded["placement"],
        "card": launches[-1].loaded["card"],
        "versions": launches[-1].loaded["versions"],
        "precision": launches[-1].loaded["precision"],
        "gpu_readings": participant.readings(),
        "load_seconds": [launch.loaded["seconds"] for launch in launches],
        "memory_base_mib": [launch.loaded["base_mib"] for launch in launches],
        "warm_up": [launch.warmed for launch in launches],
        "runs_in_block": participant.runs,
    }


def _progress(pair: list[Participant], rule: StoppingRule) -> str:
    done = f"{pair[-1].samples} runs"
    if rule.interval is NOT_YET:
        return done
    name, unit, scale = ("median", " ms", 1e-6) if len(pair) == 1 else ("ratio", "", 1.0)
    planned = f", launch {len(pair[-1].launches)} of {rule.needed}" if rule.needed and not rule.enough else ""
    return f"{done}, {name} {rule.interval.value * scale:.4g}{unit} ± {rule.half_width:.1%}{planned}"


def _opener(host: WorkerHost, runtime: RuntimeConfig, threads: int) -> OpenWorker:
    affinity = runtime.options.get("affinity")
    limit = runtime.options.get("memory_limit_mib")
    return lambda role: host.open_worker(f"{role}'s worker", threads=threads, affinity=affinity, memory_limit_mib=limit)


def _silent(message: str) -> None:
    """Discard the message."""


class _Phases:
    """Seconds that each phase took over all launches, to make the overhead visible."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock()
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Total seconds so far."""
        return sum(self.seconds.values())

    def done(self, phase: str) -> None:
        now = self._clock()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + (now - self._last) / 1e9
        self._last = now
