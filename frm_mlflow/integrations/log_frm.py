"""`log_frm`: benchmarks a model in this process against a baseline and logs to an existing run."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from frm_mlflow.config import AttachConfig, ModelConfig, RuntimeConfig
from frm_mlflow.errors import ConfigError, ExportError, MissingExtraError
from frm_mlflow.integrations.settings import FrmSettings
from frm_mlflow.sweep.beside import Benchmarked, FrmResult, benchmark_beside, check_device, result_of
from frm_mlflow.sweep.compose import zoo_model
from frm_mlflow.tracking import attach as tracking_attach
from frm_mlflow.tracking import server
from frm_mlflow.tracking.server import find_run

LONGEST_REASON = 200
"""Maximum length of a converter's error that is shown to the user."""


def log_frm(
    model: Any,
    example_input: Any = None,
    *,
    step: int | None = None,
    run_id: str | None = None,
    model_id: str | None = None,
    **settings: Any,
) -> FrmResult | None:
    """Benchmark a live model against a baseline on this machine and log the result to the active run.

    In distributed training only rank 0 does so, and the result on the other ranks is None.

    The model is not changed. It is exported in eval mode, and the export is measured in
    separate processes. A model that cannot be exported (such as a detector) is measured in eager
    torch instead, and a line reports it. The model's mode, device and gradients and the random states of
    Python, NumPy and torch are preserved. One line on stderr reports FRM and how long the benchmark took.

    Parameters
    ----------
    model
        A `torch.nn.Module` (on any device, in train mode or not, wrapped by DDP or `torch.compile`
        or not) or an ONNX `ModelProto`.
    example_input
        Arguments of one call: a tensor or array, a tuple of arguments, or a dict of keyword
        arguments. Not needed for ONNX. Its shapes are the ones that are measured.
    step
        Step of the metrics, for a model that is benchmarked repeatedly.
    run_id
        The run to log to; by default the active one.
    model_id
        MLflow LoggedModel to which the metrics also belong.
    settings
        The fields of `FrmSettings`: device, baseline, runtime, measure, batch_size, name, prefix, overrides.

    Raises
    ------
    ConfigError
        If there is no active run or no example input, a setting does not exist, or a model
        cannot be measured; the message explains how to fix it.
    FrmError
        If the export or the benchmark fails, or the server does not accept the result. In the last case
        it is kept on disk, the message names the folder, and `frm-mlflow resend` logs it to the run later.

    Examples
    --------
    >>> import mlflow, torch, frm_mlflow  # doctest: +SKIP
    >>> with mlflow.start_run():  # doctest: +SKIP
    ...     result = frm_mlflow.log_frm(torch.nn.Linear(64, 10), torch.zeros(1, 64), baseline="resnet18")
    """
    if is_other_rank():
        return None
    given = FrmSettings(**settings)
    target = run_id or active_run_id()
    started = time.perf_counter()
    with random_state_kept():
        config = given.config()
        client = server.connect(config.tracking.uri)
        find_run(client, target)
        check_device(config)
        with tempfile.TemporaryDirectory(prefix="frm-") as scratch:
            done = _benchmark(model, example_input, Path(scratch), config, name=given.name)
        tracking_attach.attach(
            client, target, done.record, prefix=given.prefix, step=step, model_id=model_id, files=done.files
        )
    result = result_of(done.record, target, model_id, seconds=time.perf_counter() - started)
    say(sentence(result))
    return result


def is_other_rank() -> bool:
    """Return whether this process is a rank other than 0 in torch's distributed training."""
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed and distributed.is_available() and distributed.is_initialized() and distributed.get_rank())


def sentence(result: FrmResult) -> str:
    """Return the line that a training script prints about a logged benchmark."""
    name, cost = result.record.model, f"{result.seconds or 0:.0f} s"
    if result.frm is not None:
        return f"FRM {result.frm:.4g} of '{name}' was logged to run {result.run_id} ({cost})."
    return (
        f"'{name}' was benchmarked and logged to run {result.run_id} ({cost}), but without FRM: {result.missing}. "
        "Compare ratio/latency and ratio/memory instead."
    )


def say(line: str) -> None:
    """Print one line among the script's output; logger settings cannot hide it."""
    sys.stderr.write(" ".join(line.split()) + "\n")
    sys.stderr.flush()


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random states of Python, NumPy and torch on exit."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state seeded by scripts
    torch = sys.modules.get("torch")
    cpu = torch.get_rng_state() if torch else None
    cuda = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if torch and torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        if torch:
            torch.set_rng_state(cpu)
        if torch and cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if torch and mps is not None:
            torch.mps.set_rng_state(mps)


def _benchmark(model: Any, example: Any, scratch: Path, config: AttachConfig, *, name: str | None) -> Benchmarked:
    """Measure a live model against a baseline: in the chosen runtime, or in eager torch if it cannot be exported."""
    reference = zoo_model(config.baseline)
    try:
        subject = live_model(model, example, scratch, name=name, batch_size=config.batch_size)
        return benchmark_beside(subject, reference, config, scratch=scratch)
    except ExportError as error:
        if hasattr(model, "SerializeToString"):
            raise
        subject = pickled_model(model, example, scratch, name=name, batch_size=config.batch_size)
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        say(f"'{subject.name}' is measured in eager torch, with its baseline: it cannot be exported ({reason})")
    eager = replace(config, runtime=RuntimeConfig("torch", threads=config.runtime.threads))
    return benchmark_beside(subject, reference, eager, scratch=scratch)


def pickled_model(model: Any, example: Any, scratch: Path, *, name: str | None, batch_size: int) -> ModelConfig:
    """Return a live module as a pickle for our own workers, which run it as ordinary Python code.

    Raises
    ------
    ExportError
        If it cannot be pickled either.
    """
    from frm_mlflow.export.capture import pickle_live, unwrap

    path = scratch / "module.pkl"
    pickle_live(model, example, path, batch_size=batch_size)
    return ModelConfig(name=name or type(unwrap(model)).__name__, source="live", path=str(path))


def active_run_id() -> str:
    """Return the id of MLflow's active run.

    Raises
    ------
    ConfigError
        If there is none.
    """
    run = mlflow.active_run()
    if run is None:
        raise ConfigError(
            "there is no active run to log to: call it within `with mlflow.start_run():`, or pass run_id= of an "
            "existing run"
        )
    return str(run.info.run_id)


def live_model(model: Any, example: Any, scratch: Path, *, name: str | None, batch_size: int) -> ModelConfig:
    """Return a model from the caller's process as settings that can be exported, with its file in `scratch`.

    Raises
    ------
    ConfigError
        If it is neither a torch module nor an ONNX model.
    """
    if hasattr(model, "SerializeToString"):
        from frm_mlflow.export.onnx_file import saved_inputs

        path = scratch / "model.onnx"
        path.write_bytes(model.SerializeToString())
        inputs = {} if example is None else saved_inputs(path, example, scratch)
        return ModelConfig(name=name or model.graph.name or "onnx", source="onnx", path=str(path), inputs=inputs)
    try:
        from frm_mlflow.export.capture import capture, unwrap
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "bench", "measuring a live model") from error
    captured = capture(model, example, scratch, batch_size=batch_size)
    return ModelConfig(name=name or type(unwrap(model)).__name__, source="pt2", path=str(captured.path))
