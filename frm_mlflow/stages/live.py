"""`log_frm`: a model that lives in this process beside a baseline, logged to a run that exists."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow

from frm_mlflow.config import AttachConfig, ModelConfig, checked
from frm_mlflow.errors import ConfigError, MissingExtraError
from frm_mlflow.stages.attach import FrmResult, benchmark_beside, result_of
from frm_mlflow.stages.compose import composed, zoo_model
from frm_mlflow.tracking import attach as tracking_attach
from frm_mlflow.tracking import server
from frm_mlflow.tracking.join import find_run


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
        Where the export or the benchmark fails, or the server does not take the result: then it is kept on disk, the
        message says where, and `frm-mlflow resend` logs it to the run later.

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
    find_run(client, target)
    with tempfile.TemporaryDirectory(prefix="frm-") as scratch:
        subject = live_model(model, example_input, Path(scratch), name=name, batch_size=batch_size)
        done = benchmark_beside(subject, zoo_model(baseline), config, scratch=Path(scratch))
    tracking_attach.attach(
        client, target, done.record, prefix=prefix, step=step, model_id=model_id, attachments=done.attachments
    )
    return result_of(done.record, target, model_id)


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
