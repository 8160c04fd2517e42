"""Runs a sweep's benchmarks one after the other under an open parent run.

A benchmark that fails is logged as a FAILED child with its reason, and the sweep continues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from frm_mlflow import redact, schema
from frm_mlflow.config import FILE_SOURCES, ModelConfig, PrecisionConfig
from frm_mlflow.devices import Device, LocalHost, Phone, WorkerHost, with_workers
from frm_mlflow.errors import FrmError
from frm_mlflow.export import export
from frm_mlflow.export.cache import ExportCache
from frm_mlflow.measure import Measurement, benchmark
from frm_mlflow.measure.shots import benchmark_by_shots
from frm_mlflow.progress import SweepProgress, Update, console
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.sweep.accuracy import REFERENCE_PRECISION, images_for
from frm_mlflow.sweep.accuracy import measured as measured_accuracy
from frm_mlflow.sweep.external import link_to_catalogue
from frm_mlflow.sweep.plan import BenchmarkPlan
from frm_mlflow.sweep.record import Measured, configuration_of, record_of
from frm_mlflow.tracking.lease import LeaseLostError
from frm_mlflow.tracking.resume import completed
from frm_mlflow.tracking.run_files import RunFiles
from frm_mlflow.tracking.runs import Sweep
from frm_mlflow.worker.manifest import ExportedModel
from frm_mlflow.zoo.catalogue import family_of


class SweepError(FrmError):
    """Raised if at least one benchmark of a sweep FAILED; the others are logged."""


class ResultsKeptError(FrmError):
    """Raised if everything was measured but some results are only on disk: `frm-mlflow resend` logs them."""

    exit_code = 3


@dataclass
class OpenSweep:
    """A parent run with the measurements made under it so far."""

    run: Sweep
    records: list[BenchmarkRecord] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)

    def finished(self, run_id: str | None, record: BenchmarkRecord) -> None:
        """Record a measured benchmark (`run_id` is None if it is spooled on disk)."""
        self.records.append(record)
        self.run_ids.append(run_id or "")


@dataclass(frozen=True)
class Bench:
    """Where benchmarks run: the recognised device, its machine, the machine's environment, and the exports."""

    device: Device
    environment: Mapping[str, object]
    cache: ExportCache
    own_cache: ExportCache | None = None
    """Cache for the user's own files, if they are measured once and not kept."""
    host: WorkerHost | Phone = field(default_factory=LocalHost)
    """The machine that the workers run on."""

    @classmethod
    def on(cls, device: Device, host: WorkerHost | Phone) -> Bench:
        """Return the bench on `device`, as recognised on `host`."""
        return cls(device, host.environment(device), ExportCache(), host=host)

    def turn(self, plan: BenchmarkPlan, *, holder: str) -> AbstractContextManager[None]:
        """Lock the device: no other process of this program exports or measures there in the meantime."""
        return self.host.turn(self.device, holder=holder, wait_s=plan.settings.device.wait_s, tell=_tell)


def run_all(plans: Sequence[BenchmarkPlan], bench: Bench, sweep: OpenSweep) -> None:
    """Run every plan that is not yet FINISHED under the parent of `sweep`."""
    done = completed(sweep.run.client, sweep.run.experiment_id, parent_run_id=sweep.run.run_id)
    progress = SweepProgress(total=len(plans), out=console())
    unmeasurable: set[str] = set()
    with progress.running():
        for plan in plans:
            update = progress.start(plan.label)
            finished = done.get(plan.config_hash(device=bench.device.name, chip=bench.device.chip))
            if finished is not None:
                progress.finish(f"{plan.label}: measured already, run {finished}")
                continue
            try:
                with_baseline = not plan.is_baseline and _group(plan) not in unmeasurable
                record = _run(plan, bench, sweep, update, with_baseline=with_baseline)
                progress.finish(_line(plan, record))
            except LeaseLostError:
                raise
            except Exception as error:  # any error of a benchmark is logged with it, and the sweep continues
                if plan.is_baseline:
                    unmeasurable.add(_group(plan))
                progress.finish(f"{plan.label}: FAILED: {redact.text(_first_line(error))}")


def raise_for_failures(run: Sweep) -> None:
    """Raise if a sweep left anything incomplete.

    Raises
    ------
    SweepError
        If a benchmark FAILED; the message lists each with its reason (exit code 1).
    ResultsKeptError
        If all were measured but some results are only on disk (exit code 3).
    """
    pending = ""
    if run.kept or run.end_kept:
        what = f"{len(run.kept)} results" if run.kept else "the leaderboard and end of the sweep"
        pending = f"{what} are only on disk: run `frm-mlflow resend` once the server answers"
    if run.failures:
        reasons = "".join(f"\n  {outcome.name}: {outcome.reason}" for outcome in run.failures)
        raise SweepError(
            f"{len(run.failures)} of {len(run.outcomes)} benchmarks failed:{reasons}" + f"\n{pending}" * bool(pending)
        )
    if pending:
        raise ResultsKeptError(pending)


def _run(
    plan: BenchmarkPlan, bench: Bench, sweep: OpenSweep, update: Update, *, with_baseline: bool
) -> BenchmarkRecord:
    configuration = configuration_of(plan, bench.device, precision=plan.settings.precision.name)
    tags = configuration.tags() | {
        schema.MODEL.key: plan.settings.model.name,
        schema.FAMILY.key: family_of(plan.settings.model),
        schema.BASELINE.key: plan.baseline.name,
        schema.CONFIG_HASH.key: plan.config_hash(device=bench.device.name, chip=bench.device.chip),
    }
    name = f"{plan.settings.model.name} · {configuration.device} · {configuration.runtime} · {configuration.precision}"
    config = OmegaConf.to_yaml(redact.settings(plan.resolved))
    refused: FrmError | None = None
    with ExitStack() as stack:
        try:
            stack.enter_context(bench.turn(plan, holder=f"the sweep {sweep.run.run_id}"))
        except FrmError as error:  # the device is busy or cannot be reached, which becomes the reason of the run
            refused = error
        run = stack.enter_context(sweep.run.benchmark(name=name, tags=tags))
        if refused is not None:
            raise refused
        measured = measure(plan, bench, update, with_baseline=with_baseline)
        record = record_of(plan, bench.device, measured)
        outcome = run.finish(record, _run_files(measured.measurement, bench, config))
    sweep.finished(outcome.run_id, record)
    link_to_catalogue(sweep.run, outcome, plan.settings.model, record)
    return record


def _run_files(measurement: Measurement, bench: Bench, config: str) -> RunFiles:
    """Return the files of a run: every sample, the environment, the configuration, the sustained series."""
    series = measurement.sustained
    return RunFiles(
        samples=measurement.samples,
        environment={**bench.environment, "measurement": dict(measurement.facts)},
        config=config,
        texts={} if series is None else {"sustained.csv": series.to_csv(index=False)},
    )


def measure(plan: BenchmarkPlan, bench: Bench, update: Update, *, with_baseline: bool) -> Measured:
    """Export the plan's model and its baseline and measure them alternately; without the baseline if requested."""
    settings = plan.settings
    started = datetime.now(timezone.utc)

    def exported(model: ModelConfig, precision: PrecisionConfig = settings.precision) -> Path:
        update(f"exporting {model.name}")
        return export(
            model,
            runtime=settings.runtime.name,
            precision=precision,
            batch_size=settings.batch_size,
            cache=bench.own_cache if bench.own_cache and model.source in FILE_SOURCES else bench.cache,
            compute_unit=bench.device.export_unit,
        )

    exported_model = exported(settings.model)
    baseline = exported(plan.baseline) if with_baseline else None
    images = images_for(plan, exported_model)
    measurement = _measurement(plan, bench, exported_model, baseline, update)
    accuracy = None
    if images is not None:
        update("measuring accuracy")
        in_fp32 = partial(exported, settings.model, PrecisionConfig(REFERENCE_PRECISION))
        accuracy = measured_accuracy(
            plan,
            exported_model,
            images,
            host=with_workers(bench.host, "accuracy=measured"),
            device=bench.device,
            in_fp32=in_fp32,
        )
    return Measured(
        measurement,
        ExportedModel.read(exported_model),
        ExportedModel.read(baseline) if baseline is not None else None,
        started,
        datetime.now(timezone.utc),
        accuracy,
    )


def _measurement(
    plan: BenchmarkPlan, bench: Bench, exported_model: Path, baseline: Path | None, update: Update
) -> Measurement:
    """Measure with alternating workers, or with alternating shots if the device is a phone."""
    settings = plan.settings
    if isinstance(bench.host, Phone):
        return benchmark_by_shots(
            exported_model=exported_model,
            baseline=baseline,
            phone=bench.host,
            device=bench.device,
            options=settings.device.tool_options,
            runtime=settings.runtime,
            config=settings.measure,
            on_progress=update,
        )
    return benchmark(
        exported_model=exported_model,
        baseline=baseline,
        device=bench.device,
        runtime=settings.runtime,
        config=settings.measure,
        rng=np.random.default_rng(settings.measure.seed),
        precision=settings.precision.name,
        host=bench.host,
        on_progress=update,
    )


def _tell(words: str) -> None:
    console().print(words, markup=False, highlight=False, soft_wrap=True)


def _group(plan: BenchmarkPlan) -> str:
    return f"{plan.settings.runtime.name} · {plan.settings.precision.name}"


def _line(plan: BenchmarkPlan, record: BenchmarkRecord) -> str:
    parts = [f"{record.metrics[schema.LATENCY_P50.key]:.2f} ms"]
    if schema.FRM.key in record.metrics:
        parts += [f"{record.metrics[schema.RATIO_LATENCY.key]:.3f} of {record.baseline}"]
        parts += [f"FRM {record.metrics[schema.FRM.key]:.3f}"]
    return f"{plan.label}: {', '.join(parts)}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
