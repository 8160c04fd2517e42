"""Benchmarks one model alternately with a baseline, outside of a sweep: for `attach`, `gate` and `log_frm`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

from omegaconf import OmegaConf

from frm_mlflow import devices, export, redact, schema
from frm_mlflow.config import FILE_SOURCES, BenchConfig, MeasuringConfig, ModelConfig
from frm_mlflow.devices import Device
from frm_mlflow.export.cache import ExportCache, sha256
from frm_mlflow.measure import Measurement
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.sweep.plan import BenchmarkPlan
from frm_mlflow.sweep.preflight import refuse_what_cannot_run
from frm_mlflow.sweep.record import record_of
from frm_mlflow.sweep.run import Bench, measure
from frm_mlflow.tracking.run_files import RunFiles

logger = redact.logger(__name__)

COMPONENTS = MappingProxyType(
    {"FLOPs": schema.RATIO_FLOPS, "latency": schema.RATIO_LATENCY, "memory": schema.RATIO_MEMORY}
)
"""The ratios whose geometric mean is FRM."""


@dataclass(frozen=True, kw_only=True, repr=False)
class FrmResult:
    """One logged benchmark: its FRM, all metrics and tags by their `schema` keys, and the run that has them.

    `frm` is None if a component is missing (such as FLOPs that cannot be counted). `seconds` is how long it took.
    """

    frm: float | None
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    run_id: str | None
    model_id: str | None = None
    record: BenchmarkRecord
    seconds: float | None = None

    def __repr__(self) -> str:
        return f"FrmResult({self})"

    def __str__(self) -> str:
        parts = [self.record.model, f"FRM {self.frm:.4g}" if self.frm is not None else f"no FRM ({self.missing})"]
        parts.append(f"{self.metrics[schema.LATENCY_P50.key]:.3g} ms")
        if schema.RATIO_LATENCY.key in self.metrics:
            parts[-1] += f" ({self.metrics[schema.RATIO_LATENCY.key]:.3g} of {self.record.baseline})"
        return ", ".join([*parts, f"run {self.run_id}" if self.run_id else "kept on disk"])

    @property
    def missing(self) -> str:
        """Return why there is no FRM: the missing components."""
        lacking = [name for name, ratio in COMPONENTS.items() if ratio.key not in self.metrics]
        uncounted = self.tags.get(schema.UNCOUNTED_OPS.key)
        reason = f": operators that are not counted: {uncounted}" if uncounted and "FLOPs" in lacking else ""
        return f"without {' and '.join(lacking)}{reason}" if lacking else ""


@dataclass(frozen=True)
class Benchmarked:
    """A record with its files and the measurement that it was created from."""

    record: BenchmarkRecord
    files: RunFiles
    measurement: Measurement


def check_device(config: MeasuringConfig) -> Device:
    """Return the device, after a tiny network has run there: called before anything is downloaded or exported.

    Raises
    ------
    ConfigError
        If the runtime cannot run in the precision on the device, with the reason and the remedy.
    FrmError
        If the device is a different one or cannot be reached.
    """
    with devices.opened(config.device) as host:
        device = devices.resolve(config.device, hardware=host.hardware, known=devices.known_devices())
        export.check(config.runtime.name, config.precision.name, compute_unit=device.export_unit)
        refuse_what_cannot_run(host, device, [(config.runtime, config.precision)])
        return device


def benchmark_beside(
    subject: ModelConfig, baseline: ModelConfig, config: MeasuringConfig, *, scratch: Path
) -> Benchmarked:
    """Measure `subject` and `baseline` alternately on this machine.

    Parameters
    ----------
    scratch
        Directory for the exports of the subject, which are not kept.

    Raises
    ------
    FrmError
        If the device is a different one, the export is rejected or the benchmark fails.
    """
    plan = plan_of(subject, baseline, config)
    with devices.opened(config.device) as host:
        device = devices.resolve(config.device, hardware=host.hardware, known=devices.known_devices())
        bench = replace(Bench.on(device, host), own_cache=ExportCache(scratch / "exports"))
        with bench.turn(plan, holder=f"a benchmark of {subject.name}"):
            measured = measure(plan, bench, logger.info, with_baseline=True)
    files = RunFiles(
        samples=measured.measurement.samples,
        environment=bench.environment,
        config=OmegaConf.to_yaml(OmegaConf.create(redact.settings(plan.resolved))),
    )
    return Benchmarked(record_of(plan, device, measured), files, measured.measurement)


def plan_of(subject: ModelConfig, baseline: ModelConfig, config: MeasuringConfig) -> BenchmarkPlan:
    """Return the plan of one benchmark; a user's file is identified by its content, not by its path."""
    settings = BenchConfig(
        model=subject,
        device=config.device,
        runtime=config.runtime,
        precision=config.precision,
        measure=config.measure,
        tracking=config.tracking,
        baseline=baseline.name,
        batch_size=config.batch_size,
    )
    resolved = asdict(settings)
    if subject.source in FILE_SOURCES:
        resolved["model"]["path"] = f"sha256:{sha256(Path(str(subject.path)))}"
    return BenchmarkPlan(settings=settings, resolved=resolved, baseline=baseline)


def result_of(
    record: BenchmarkRecord, run_id: str | None, model_id: str | None, *, seconds: float | None = None
) -> FrmResult:
    """Return the result of a benchmark that was logged to `run_id`; None if it is kept on disk."""
    return FrmResult(
        frm=record.metrics.get(schema.FRM.key),
        metrics=MappingProxyType(dict(record.metrics)),
        tags=MappingProxyType(record.all_tags()),
        run_id=run_id,
        model_id=model_id,
        record=record,
        seconds=seconds,
    )
