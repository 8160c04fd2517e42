"""Measures on a phone: one shot of a benchmark program at a time, alternating between baseline and model.

A shot is a separate process that warms up, times its runs and prints statistics. Individual runs
are not reported. Each shot of the model is between two shots of the baseline, so that a phone that
heats up affects both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frm_mlflow import schema, tool_output
from frm_mlflow.analysis.interval import Interval
from frm_mlflow.config import TOOLS, MeasureConfig, RuntimeConfig
from frm_mlflow.devices import Device, LocalHost, Phone
from frm_mlflow.errors import ConfigError, WorkerError
from frm_mlflow.measure import estimate
from frm_mlflow.measure.participant import Participant
from frm_mlflow.measure.result import BASELINE, MODEL, SHOT_COLUMNS, Identity, Measurement
from frm_mlflow.measure.stability import LARGEST_BLOCK_CV
from frm_mlflow.measure.summary import memory_ratio, ratio_metrics
from frm_mlflow.tool_output import Printed
from frm_mlflow.worker.manifest import ExportedModel

LEAST_SHOTS = 5
"""Minimum number of shots of the model: the interval is computed from their ratios."""
_SLACK_S = 60.0

Progress = Callable[[str], None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Shots:
    """All shots of one model, in order."""

    role: str
    printed: tuple[Printed, ...]

    def values(self, metric: schema.Metric) -> Floats:
        return np.array([one.metrics.get(metric.key, math.nan) for one in self.printed], dtype=np.float64)

    def table(self) -> pd.DataFrame:
        columns = (schema.LATENCY_SAMPLES, schema.LATENCY_P50, schema.LATENCY_MEAN, schema.MEMORY_PEAK)
        facts = {"role": self.role, "shot": np.arange(len(self.printed))}
        figures = dict(zip(SHOT_COLUMNS[2:], (self.values(metric) for metric in columns), strict=True))
        return pd.DataFrame(facts | figures)


def benchmark_by_shots(
    *,
    exported_model: Path,
    baseline: Path | None,
    phone: Phone,
    device: Device,
    options: Sequence[str],
    runtime: RuntimeConfig,
    config: MeasureConfig,
    on_progress: Progress,
) -> Measurement:
    """Return the measurement of `exported_model` on a phone, relative to `baseline` if one is given.

    Latency is the median over the shots of the value that each prints (`latency_statistic`). Its interval
    and the ratio's are Student's t intervals over the shots. Outputs are compared with the reference on this
    machine, using the same file, because the phone's programs do not return outputs.

    Raises
    ------
    ConfigError
        If the program belongs to a different runtime.
    WorkerError
        If the phone or the program fails; a shot is never repeated.
    IdentityError
        If the outputs of a file do not match the torch reference.
    """
    if TOOLS[phone.tool] != runtime.name:
        raise ConfigError(f"device.tool={phone.tool} runs {TOOLS[phone.tool]}, so choose runtime={TOOLS[phone.tool]}")
    roles = {MODEL: exported_model} if baseline is None else {BASELINE: baseline, MODEL: exported_model}
    identities = {role: _identity(directory, runtime, config, on_progress) for role, directory in roles.items()}
    program = phone.install()
    models = {role: phone.put(_one_file(directory)) for role, directory in roles.items()}
    threads = runtime.threads or 1
    n_shots = max(config.launches, LEAST_SHOTS)
    words = {
        role: _command(phone.tool, program, model, threads=threads, n_shots=n_shots, config=config, options=options)
        for role, model in models.items()
    }
    before = phone.state()
    printed = _take_turns(phone, words, n_shots=n_shots, config=config, tell=on_progress)
    shots = [_Shots(role, tuple(printed[role])) for role in roles]
    _check_unit(shots[-1], device)
    facts = {"threads": threads, "shots": n_shots, "commands": words, "before": before, "after": phone.state()}
    return _measurement(shots, identities, phone=phone, config=config, facts=facts)


def _identity(directory: Path, runtime: RuntimeConfig, config: MeasureConfig, tell: Progress) -> Identity:
    """Verify the file in a worker on this machine; raise if the tolerance is exceeded."""
    participant = Participant("checked", directory, config.timeout_s)
    tell(f"verifying {participant.manifest.model} on this machine")
    with closing(LocalHost().open_worker("the verifying worker", threads=1)) as worker:
        participant.launch(worker)
        participant.load(device=Device("cpu", "cpu", "cpu", "", "cpu"), runtime=runtime, threads=1)
        return participant.verify()


def _one_file(directory: Path) -> Path:
    """Return the model's file; raise if it has several, since the program would not find the others."""
    manifest = ExportedModel.read(directory)
    parts = sorted(path.name for path in directory.glob(f"{manifest.file}*") if path.name != manifest.file)
    if parts:
        raise ConfigError(f"'{manifest.model}' is more than one file ({', '.join(parts)}): a phone takes models of one")
    return directory / manifest.file


def _command(
    tool: str,
    program: str,
    model: str,
    *,
    threads: int,
    n_shots: int,
    config: MeasureConfig,
    options: Sequence[str],
) -> list[str]:
    """Return the command line of one shot, which performs its share of the runs."""
    runs, seconds = math.ceil(config.runs / n_shots), config.max_seconds / n_shots
    if tool == "onnxruntime_perf_test":
        return [program, "-I", "-m", "times", "-r", str(runs), "-x", str(threads), *options, model]
    return [
        program,
        f"--graph={model}",
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        f"--max_secs={seconds:g}",
        f"--warmup_runs={config.warm_up_runs}",
        f"--warmup_min_secs={config.warm_up_seconds:g}",
        *options,
    ]


def _take_turns(
    phone: Phone, words: dict[str, list[str]], *, n_shots: int, config: MeasureConfig, tell: Progress
) -> dict[str, list[Printed]]:
    """Take shots in the order B M B M ... B, or M M M without a baseline."""
    order = [role for _ in range(n_shots) for role in words] + [role for role in words if role == BASELINE]
    limit_s = config.warm_up_max_seconds + config.max_seconds + _SLACK_S
    printed: dict[str, list[Printed]] = {role: [] for role in words}
    for number, role in enumerate(order, start=1):
        tell(f"shot {number} of {len(order)}: {role}")
        text = phone.shot(words[role], limit_s=limit_s)
        try:
            printed[role].append(tool_output.READERS[phone.tool](text))
        except (tool_output.ToolFailedError, tool_output.NotPrintedError) as error:
            raise WorkerError(f"{phone.tool} on the phone: {error}\n{text.strip()[-2000:]}") from error
    return printed


def _check_unit(shots: _Shots, device: Device) -> None:
    """Raise if nodes did not run on the requested compute unit, as far as the program reports it."""
    layers = shots.printed[-1].layers
    if device.compute_unit != "cpu" and layers and device.compute_unit not in layers:
        raise WorkerError(
            f"the phone ran nothing on its {device.compute_unit} ({_words(layers)}): see device.tool_options"
        )


def _measurement(
    shots: Sequence[_Shots],
    identities: dict[str, Identity],
    *,
    phone: Phone,
    config: MeasureConfig,
    facts: dict[str, Any],
) -> Measurement:
    model, alone = shots[-1], len(shots) == 1
    metrics = [_metrics(one, config) for one in shots]
    ratio = Interval(1.0, 1.0, 1.0) if alone else _ratio(model, shots[0], config)
    memory = _memory_ratio(model, shots[0], config)
    last = model.printed[-1]
    return Measurement(
        metrics=metrics[-1] | ratio_metrics(ratio, memory, metrics[-1], metrics[0]),
        baseline_metrics={} if alone else metrics[0],
        samples=pd.concat([one.table() for one in shots], ignore_index=True),
        unstable=_unstable(ratio, config),
        remarks=_remarks(shots, facts),
        versions={phone.tool: f"{phone.tool} {phone.tool_sha256[:12]}"},
        identity=identities[MODEL],
        baseline_identity=identities.get(BASELINE),
        latency_statistic=last.statistic,
        layers=_words(last.layers),
        memory_definition=last.memory_definition if schema.MEMORY_PEAK.key in metrics[-1] else "",
        facts=facts,
    )


def _metrics(shots: _Shots, config: MeasureConfig) -> dict[str, float]:
    """Return the medians over the shots of what each prints; percentiles only if every shot prints them."""
    latencies, runs = shots.values(schema.LATENCY_P50), shots.values(schema.LATENCY_SAMPLES)
    interval = estimate.launch_interval(float(np.median(latencies)), latencies, confidence=config.confidence)
    metrics = {
        schema.LATENCY_P50: interval.value,
        schema.LATENCY_P50_LOW: interval.low,
        schema.LATENCY_P50_HIGH: interval.high,
        schema.LATENCY_MEAN: float(np.average(shots.values(schema.LATENCY_MEAN))),
        schema.LATENCY_SAMPLES: float(runs.sum()),
        schema.LATENCY_BLOCK_CV: estimate.block_cv(latencies),
        schema.MEMORY_PEAK: float(np.median(shots.values(schema.MEMORY_PEAK))),
        schema.LATENCY_P90: float(np.median(shots.values(schema.LATENCY_P90))),
        schema.LATENCY_P95: float(np.median(shots.values(schema.LATENCY_P95))),
        schema.LATENCY_P99: float(np.median(shots.values(schema.LATENCY_P99))),
    }
    if config.batch_size > 1:
        metrics[schema.THROUGHPUT] = config.batch_size * 1e3 / metrics[schema.LATENCY_MEAN]
    return {metric.key: value for metric, value in metrics.items() if not math.isnan(value)}


def _ratio(model: _Shots, baseline: _Shots, config: MeasureConfig) -> Interval:
    latencies = (one.values(schema.LATENCY_P50) for one in (model, baseline))
    return estimate.shared_baseline_interval(*latencies, confidence=config.confidence)


def _memory_ratio(model: _Shots, baseline: _Shots, config: MeasureConfig) -> Interval:
    """Return the ratio of peak memory, without the baseline's first shot, which no shot of the model precedes."""
    peaks = (one.values(schema.MEMORY_PEAK)[-len(model.printed) :].tolist() for one in (model, baseline))
    return memory_ratio(*peaks, confidence=config.confidence)


def _unstable(ratio: Interval, config: MeasureConfig) -> tuple[str, ...]:
    if ratio.relative_half_width > config.target_interval:
        return (f"interval wider than {config.target_interval:.1%}",)
    return ()


def _remarks(shots: Sequence[_Shots], facts: dict[str, Any]) -> tuple[str, ...]:
    """Return what disturbed the measured times: differences between shots, and heat."""
    remarks = []
    for one in reversed(shots):
        cv = estimate.block_cv(one.values(schema.LATENCY_P50))
        if cv > LARGEST_BLOCK_CV:
            remarks.append(f"{'' if one.role == MODEL else f'{one.role} '}shots differ by {cv:.1%}")
    hottest = max(facts[when]["conditions"].get("thermal_status", 0) for when in ("before", "after"))
    if hottest > 0:
        remarks.append(f"thermal status {hottest:.0f}")
    return tuple(remarks)


def _words(layers: Any) -> str:
    return " ".join(f"{unit}={number}" for unit, number in layers.items())
