"""`frm-mlflow gate`: may this model be shipped to this device? By interval, with an exit code for CI."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from omegaconf import DictConfig

from frm_mlflow import devices, schema
from frm_mlflow.analysis.gate import Check, Range, Verdict, frm_range, quotient
from frm_mlflow.config import GateConfig, ModelConfig, checked
from frm_mlflow.errors import ConfigError, DeviceMismatchError, FrmError
from frm_mlflow.prediction import PredictionOptions, Target, predict
from frm_mlflow.report.gate import GateResult, junit, markdown
from frm_mlflow.stages import undisturbed
from frm_mlflow.stages.attach import Benchmarked, benchmark_beside
from frm_mlflow.stages.compose import zoo_model
from frm_mlflow.stages.history import read_history
from frm_mlflow.stages.progress import console
from frm_mlflow.tracking import models, server
from frm_mlflow.tracking.flavors import measurable
from frm_mlflow.tracking.models import StoredModel

GITHUB_SUMMARY = "GITHUB_STEP_SUMMARY"
"""GitHub Actions shows what is appended to the file that this variable names."""
Metrics = Mapping[str, float]


class GateFailedError(FrmError):
    """The candidate is beyond a limit."""

    exit_code = 1


class GateUndecidedError(FrmError):
    """What is known does not decide."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a candidate: latency, FRM and its latency over the other model's, where asked for."""

    source: str
    device: str
    latency_ms: Range | None = None
    frm: Range | None = None
    regression: Range | None = None
    reasons: tuple[str, ...] = ()


def gate(config: DictConfig) -> None:
    """Decide about `config.candidate`, write the summaries, mark the version, and raise unless it passes.

    Raises
    ------
    GateFailedError
        Where a limit is exceeded (exit code 1).
    GateUndecidedError
        Where an interval reaches over its limit, or nothing could be measured (exit code 2).
    ConfigError, TrackingError
        For settings that cannot be used, or a registry without permission.
    """
    asked = checked(GateConfig, config, where="gate")
    client = server.connect(asked.tracking.uri)
    candidate = _stored(client, asked.candidate)
    result = decide(asked, client)
    _write(asked, result)
    if asked.tag and candidate is not None and candidate.version is not None:
        sentences = "; ".join(check.sentence for check in result.checks) or "; ".join(result.reasons)
        alias = asked.alias if result.verdict is Verdict.PASS else None
        models.mark_version(client, candidate, verdict=f"{result.verdict.value}: {sentences}", alias=alias)
    elif asked.alias and result.verdict is Verdict.PASS:
        raise ConfigError(f"alias={asked.alias}: '{asked.candidate}' is no registered version that could get it")
    _raise_unless_passed(result)


def decide(asked: GateConfig, client: MlflowClient) -> GateResult:
    """Return the verdict over what can be measured or is known; an error in between leaves it undecided.

    Raises
    ------
    ConfigError
        For settings that cannot be used.
    """
    try:
        found = _evidence(asked, client)
    except ConfigError:
        raise
    except FrmError as error:
        found = Evidence(source="none", device=asked.device.name, reasons=(str(error),))
    return GateResult(
        model=asked.candidate,
        against=asked.against or "",
        device=found.device,
        numbers=found.source,
        confidence=asked.confidence,
        checks=_checks(asked, found) if found.source != "none" else (),
        reasons=found.reasons,
    )


def _evidence(asked: GateConfig, client: MlflowClient) -> Evidence:
    sources = {"tracked": _tracked, "measured": _measured, "predicted": _predicted}
    if asked.numbers in sources:
        return sources[asked.numbers](asked, client)
    try:
        return _measured(asked, client)
    except DeviceMismatchError as error:
        found = _tracked(asked, client)
        return Evidence(**{**found.__dict__, "reasons": (f"not measured: {error}", *found.reasons)})


def _checks(asked: GateConfig, found: Evidence) -> tuple[Check, ...]:
    missing = f"no {found.source} number" if found.source != "measured" else "a component could not be counted"
    wanted = (
        ("latency", asked.max_latency_ms, found.latency_ms, "ms"),
        ("FRM", asked.max_frm, found.frm, ""),
        (f"latency over that of {asked.against}", asked.largest_ratio, found.regression, ""),
    )
    return tuple(
        Check(name=name, limit=limit, found=value, unit=unit, why_missing=missing)
        for name, limit, value, unit in wanted
        if limit is not None
    )


def _measured(asked: GateConfig, client: MlflowClient) -> Evidence:
    """Measure the candidate in turns with the other model, and with the baseline where FRM is asked for."""
    with devices.opened(asked.device) as host:
        device = devices.resolve(asked.device, hardware=host.hardware, known=devices.known_devices())
    done: list[Benchmarked] = []
    regression = frm = None
    with tempfile.TemporaryDirectory(prefix="frm-") as folder:
        candidate = _subject(client, asked.candidate, Path(folder) / "candidate", asked)
        if asked.against is not None and asked.largest_ratio is not None:
            other = _subject(client, asked.against, Path(folder) / "against", asked)
            done += [benchmark_beside(candidate, other, asked, scratch=Path(folder))]
            regression = undisturbed.ratio(done[-1].measurement, asked.measure)
        if asked.max_frm is not None or not done:
            done += [benchmark_beside(candidate, zoo_model(asked.baseline), asked, scratch=Path(folder))]
            frm = _frm(done[-1].record.metrics, undisturbed.ratio(done[-1].measurement, asked.measure))
    return Evidence(
        source="measured",
        device=device.name,
        latency_ms=undisturbed.latency_ms(done[0].measurement),
        frm=frm,
        regression=regression,
        reasons=tuple(reason for one in done for reason in undisturbed.reasons(one.measurement)),
    )


def _tracked(asked: GateConfig, client: MlflowClient) -> Evidence:
    """Take the newest benchmark runs of both models on the device from the server."""
    name = asked.device.name
    if asked.device.kind == "auto":
        with devices.opened(asked.device) as host:
            name = devices.resolve(asked.device, hardware=host.hardware, known=devices.known_devices()).name

    def metrics_of(uri: str) -> Metrics | None:
        stored = _stored(client, uri)
        if stored is None:
            raise ConfigError(f"'{uri}' is no model on the server: numbers=tracked needs models:/ or runs:/")
        wanted = {
            schema.DEVICE.key: name,
            schema.RUNTIME.key: asked.runtime.name,
            schema.PRECISION.key: asked.precision.name,
            schema.BATCH_SIZE.key: str(asked.batch_size),
        }
        return models.tracked_metrics(client, stored, wanted)

    own = metrics_of(asked.candidate)
    other = metrics_of(asked.against) if asked.against is not None else None
    latencies = [undisturbed.wall_latency_ms(metrics) if metrics else None for metrics in (own, other)]
    missing = [uri for uri, metrics in ((asked.candidate, own), (asked.against, other)) if uri and metrics is None]
    return Evidence(
        source="tracked",
        device=name,
        latency_ms=latencies[0],
        frm=_frm(own, undisturbed.wall_ratio(own)) if own else None,
        regression=quotient(latencies[0], latencies[1]) if latencies[0] and latencies[1] else None,
        reasons=tuple(f"no benchmark of {uri} on {name}: `frm-mlflow attach` logs one there" for uri in missing),
    )


def _predicted(asked: GateConfig, client: MlflowClient) -> Evidence:
    """Predict both models on the device from what was measured of them, and of others, elsewhere."""
    asked_of = [uri for uri in (asked.candidate, asked.against) if uri is not None]
    stored = {uri: _stored(client, uri) for uri in asked_of}
    names = {uri: found.name if found is not None else uri for uri, found in stored.items()}
    run_ids = [found.run_id for found in stored.values() if found is not None and found.run_id is not None]
    experiments = {asked.tracking.experiment}
    experiments |= {client.get_experiment(client.get_run(run).info.experiment_id).name for run in run_ids}
    history = read_history(client, sorted(experiments), where="", refresh=False, out=console())
    target = Target(device=asked.device.name, runtime=asked.runtime.name, precision=asked.precision.name)
    options = PredictionOptions(confidence=asked.confidence, baseline=asked.baseline)
    prediction = predict(history.frame, target, options, np.random.default_rng(asked.measure.seed))
    table = prediction.tables()["models"].set_index("model")

    def believed(uri: str | None, figure: str, unit: str = "") -> Range | None:
        if uri is None or names[uri] not in table.index:
            return None
        row = table.loc[names[uri], [f"{figure}{unit}", f"{figure}_low{unit}", f"{figure}_high{unit}"]]
        return None if row.isna().any() else Range(*row.to_numpy(np.float64).tolist())

    own, other = believed(asked.candidate, "latency", "_ms"), believed(asked.against, "latency", "_ms")
    missing = [uri for uri in asked_of if names[uri] not in table.index]
    return Evidence(
        source="predicted",
        device=asked.device.name,
        latency_ms=own,
        frm=believed(asked.candidate, "frm"),
        regression=quotient(own, other) if own and other else None,
        reasons=(
            *(f"'{names[uri]}' was benchmarked on no device: `frm-mlflow attach` logs it on one" for uri in missing),
            *prediction.summary(),
        ),
    )


def _subject(client: MlflowClient, uri: str, scratch: Path, asked: GateConfig) -> ModelConfig:
    """Return the model behind a URI, a file's path or a name of the zoo."""
    scratch.mkdir()
    stored = _stored(client, uri)
    if stored is not None:
        path = stored.download(scratch, client=client)
        return measurable(path, scratch, name=stored.name, batch_size=asked.batch_size)
    suffix = Path(uri).suffix
    if suffix in (".onnx", ".pt2"):
        return ModelConfig(name=Path(uri).stem, source=suffix[1:], path=uri)
    return zoo_model(uri)


def _stored(client: MlflowClient, uri: str) -> StoredModel | None:
    return models.find_model(client, uri) if uri.startswith(("models:/", "runs:/")) else None


def _frm(metrics: Metrics, latency_ratio: Range) -> Range | None:
    if schema.FRM.key not in metrics:
        return None
    flops, memory = metrics[schema.RATIO_FLOPS.key], metrics[schema.RATIO_MEMORY.key]
    return frm_range(latency_ratio, flops_ratio=flops, memory_ratio=memory)


def _write(asked: GateConfig, result: GateResult) -> None:
    text = markdown(result)
    for path, content in ((asked.junit, junit(result)), (asked.markdown, text)):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(content, encoding="utf-8")
    if summary := os.environ.get(GITHUB_SUMMARY):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    sys.stdout.write(text)


def _raise_unless_passed(result: GateResult) -> None:
    said = "; ".join(check.sentence for check in result.checks if check.verdict is result.verdict)
    if result.verdict is Verdict.FAIL:
        raise GateFailedError(f"{result.model} fails: {said}")
    if result.verdict is Verdict.UNDECIDED:
        raise GateUndecidedError(f"could not decide about {result.model}: {said or '; '.join(result.reasons)}")
