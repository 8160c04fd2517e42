"""One model beside a baseline, logged to a run that exists: a live model (`log_frm`) or a logged one (`attach`)."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlflow
from omegaconf import DictConfig, OmegaConf

from frm_mlflow import devices, schema
from frm_mlflow.config import FILE_SOURCES, AttachConfig, BenchConfig, ModelConfig, checked
from frm_mlflow.errors import ConfigError, MissingExtraError
from frm_mlflow.export.cache import ArtefactCache, sha256
from frm_mlflow.measure import Measurement
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.stages.compose import composed, zoo_model
from frm_mlflow.stages.plan import BenchmarkPlan
from frm_mlflow.stages.progress import console
from frm_mlflow.stages.record import record_of
from frm_mlflow.stages.sweep import Bench, measure
from frm_mlflow.tracking import attach as tracking_attach
from frm_mlflow.tracking import models, server
from frm_mlflow.tracking.attachments import Attachments
from frm_mlflow.tracking.flavors import measurable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FrmResult:
    """One benchmark that was logged: its FRM, all metrics and tags by their `schema` keys, and where they went.

    `frm` is None where a component is missing (FLOPs that cannot be counted, say).
    """

    frm: float | None
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    run_id: str | None
    model_id: str | None = None
    record: BenchmarkRecord = field(repr=False)


@dataclass(frozen=True)
class Benchmarked:
    """A record with the files that go with it, and the measurement that it was made from."""

    record: BenchmarkRecord
    attachments: Attachments
    measurement: Measurement


def log_frm(
    model: Any,
    example_input: Any = None,
    *,
    device: str = "auto",
    baseline: str = "resnet50",
    runtime: str = "onnxruntime",
    measure: str = "default",
    batch_size: int = 1,
    name: str | None = None,
    prefix: str = "",
    step: int | None = None,
    run_id: str | None = None,
    model_id: str | None = None,
    overrides: Sequence[str] = (),
) -> FrmResult:
    """Benchmark a live model beside a baseline on this machine and log the result to the active run.

    The model is not changed: it is exported as it is in eval mode, and the export is measured in
    processes of its own. Its mode, device, gradients and torch's random state stay as they are.

    Parameters
    ----------
    model
        A `torch.nn.Module` (on any device, in train mode or not, wrapped by DDP or `torch.compile`
        or not) or an ONNX `ModelProto`.
    example_input
        Arguments of one call: a tensor or array, a tuple of arguments, or a dict of keyword
        arguments. Not needed for ONNX. The shapes that it has are the shapes that are measured.
    device
        A name of `conf/device/`; `auto` recognises this machine.
    baseline
        Reference model of the ratios, by its name in the zoo.
    runtime
        What the export runs in: onnxruntime, torch_export, torchscript, openvino, ...
    measure
        The protocol, by its name in `conf/measure/`: quick (seconds), default, paper, rigorous.
    batch_size
        Samples in one call; the example is cut or repeated to it.
    name
        What the result calls the model; by default its class.
    prefix
        Put before every metric and tag key.
    step
        Step of the metrics, for a model that is benchmarked again and again.
    run_id
        The run to log to; by default the active one.
    model_id
        MLflow's LoggedModel that the metrics belong to as well.
    overrides
        Further settings as on the command line: ["measure.runs=50", "runtime.threads=1"].

    Raises
    ------
    ConfigError
        Without an active run or an example input, for a setting that does not exist or a model
        that cannot be measured; the message says what to do.
    FrmError
        Where the export or the benchmark fails.

    Examples
    --------
    >>> import mlflow, torch, frm_mlflow  # doctest: +SKIP
    >>> with mlflow.start_run():  # doctest: +SKIP
    ...     result = frm_mlflow.log_frm(torch.nn.Linear(64, 10), torch.zeros(1, 64), baseline="resnet18")
    """
    target = run_id or active_run_id()
    config = settings(device=device, baseline=baseline, runtime=runtime, measure=measure, overrides=overrides)
    config = replace(config, batch_size=batch_size, measure=replace(config.measure, batch_size=batch_size))
    client = server.connect(config.tracking.uri)
    tracking_attach.find_run(client, target)
    with tempfile.TemporaryDirectory(prefix="frm-") as scratch:
        subject = live_model(model, example_input, Path(scratch), name=name, batch_size=batch_size)
        done = benchmark_beside(subject, zoo_model(baseline), config, scratch=Path(scratch))
    tracking_attach.attach(
        client, target, done.record, prefix=prefix, step=step, model_id=model_id, attachments=done.attachments
    )
    return _result(done.record, target, model_id)


def attach(config: DictConfig) -> None:
    """Benchmark the logged model that `config` names and log the result to its run, or to one below it.

    Raises
    ------
    ConfigError
        For settings or a model that cannot be used.
    TrackingError
        Where the server does not answer or refuses; nothing is measured where it does not answer.
    FrmError
        Where the benchmark fails.
    """
    asked = checked(AttachConfig, config, where="attach")
    client = server.connect(asked.tracking.uri)
    if (asked.model_uri is None) == (asked.run_id is None):
        raise ConfigError("give either model_uri=models:/NAME/VERSION or run_id=RUN_ID")
    stored = (
        models.find_model(client, asked.model_uri)
        if asked.model_uri is not None
        else models.model_of_run(client, str(asked.run_id))
    )
    if stored.run_id is None:
        raise ConfigError(f"'{stored.uri}' was made by no run: there is nothing to attach to; use `frm-mlflow gate`")
    name = asked.name or stored.name
    with tempfile.TemporaryDirectory(prefix="frm-") as scratch:
        path = stored.download(Path(scratch), client=client)
        subject = measurable(path, Path(scratch), name=name, batch_size=asked.batch_size)
        done = benchmark_beside(subject, zoo_model(asked.baseline), asked, scratch=Path(scratch))
    run_id: str | None = stored.run_id
    if asked.into == "run":
        tracking_attach.attach(
            client,
            stored.run_id,
            done.record,
            prefix=asked.prefix,
            model_id=stored.model_id,
            attachments=done.attachments,
        )
    else:
        run_id = tracking_attach.log_below(
            client, stored.run_id, done.record, model_id=stored.model_id, attachments=done.attachments
        )
    _tell(_result(done.record, run_id, stored.model_id), as_json=asked.json)


def active_run_id() -> str:
    """Return the id of MLflow's active run.

    Raises
    ------
    ConfigError
        Where there is none.
    """
    run = mlflow.active_run()
    if run is None:
        raise ConfigError(
            "there is no active run to log to: call it within `with mlflow.start_run():`, or pass run_id= of an "
            "existing run"
        )
    return str(run.info.run_id)


def settings(
    *,
    device: str = "auto",
    baseline: str = "resnet50",
    runtime: str = "onnxruntime",
    measure: str = "default",
    overrides: Sequence[str] = (),
) -> AttachConfig:
    """Return the settings under these names of `conf/`, checked.

    Raises
    ------
    ConfigError
        For an unknown key; Hydra's own error for an unknown name lists the known ones.
    """
    chosen = [f"device={device}", f"baseline={baseline}", f"runtime={runtime}", f"measure={measure}"]
    return checked(AttachConfig, composed("attach", [*chosen, *overrides]), where="settings")


def live_model(model: Any, example: Any, scratch: Path, *, name: str | None, batch_size: int) -> ModelConfig:
    """Return a model of the caller's process as settings that can be exported, its file in `scratch`.

    Raises
    ------
    ConfigError
        For anything but a torch module or an ONNX model.
    """
    if hasattr(model, "SerializeToString"):
        path = scratch / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return ModelConfig(name=name or model.graph.name or "onnx", source="onnx", path=str(path))
    try:
        from frm_mlflow.export.capture import capture, unwrap
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "bench", "measuring a live model") from error
    captured = capture(model, example, scratch, batch_size=batch_size)
    return ModelConfig(name=name or type(unwrap(model)).__name__, source="pt2", path=str(captured.path))


def benchmark_beside(subject: ModelConfig, baseline: ModelConfig, config: Any, *, scratch: Path) -> Benchmarked:
    """Measure `subject` and `baseline` in turns on this machine.

    Parameters
    ----------
    config
        Settings with `device`, `runtime`, `precision`, `measure`, `tracking` and `batch_size`.
    scratch
        Directory for the subject's own exports, which are not kept.

    Raises
    ------
    FrmError
        Where the device is another one, the export is refused or the benchmark fails.
    """
    plan = plan_of(subject, baseline, config)
    with devices.opened(config.device) as host:
        device = devices.resolve(config.device, hardware=host.hardware, known=devices.known_devices())
        bench = replace(Bench.on(device, host), own_cache=ArtefactCache(scratch / "exports"))
        measured = measure(plan, bench, logger.info, with_baseline=True)
    attachments = Attachments(
        samples=measured.measurement.samples,
        environment=bench.environment,
        config=OmegaConf.to_yaml(OmegaConf.create(plan.resolved)),
    )
    return Benchmarked(record_of(plan, device, measured), attachments, measured.measurement)


def plan_of(subject: ModelConfig, baseline: ModelConfig, config: Any) -> BenchmarkPlan:
    """Return the plan of one benchmark; a user's file counts by its content, wherever it lies."""
    chosen = BenchConfig(
        model=subject,
        device=config.device,
        runtime=config.runtime,
        precision=config.precision,
        measure=config.measure,
        tracking=config.tracking,
        baseline=baseline.name,
        batch_size=config.batch_size,
    )
    resolved = asdict(chosen)
    if subject.source in FILE_SOURCES:
        resolved["model"]["path"] = f"sha256:{sha256(Path(str(subject.path)))}"
    return BenchmarkPlan(settings=chosen, resolved=resolved, baseline=baseline)


def _result(record: BenchmarkRecord, run_id: str | None, model_id: str | None) -> FrmResult:
    return FrmResult(
        frm=record.metrics.get(schema.FRM.key),
        metrics=MappingProxyType(dict(record.metrics)),
        tags=MappingProxyType(record.all_tags()),
        run_id=run_id,
        model_id=model_id,
        record=record,
    )


def _tell(result: FrmResult, *, as_json: bool) -> None:
    if as_json:
        answer = {"run_id": result.run_id, "model_id": result.model_id, "frm": result.frm}
        sys.stdout.write(json.dumps(answer | {"metrics": dict(result.metrics)}, indent=2) + "\n")
        return
    where = f"run {result.run_id}" if result.run_id else "disk (`frm-mlflow resend` logs it)"
    figure = f"FRM {result.frm:.4g}" if result.frm is not None else "no FRM (a component is missing)"
    latency = result.metrics[schema.LATENCY_P50.key]
    console().print(f"{result.record.name}: {latency:.3g} ms, {figure}: {where}", markup=False, highlight=False)
