"""Evidence about a gate's candidate: measured alternately on this machine, tracked on the server, or predicted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from frm_mlflow import devices, schema
from frm_mlflow.analysis.frm import frm_interval
from frm_mlflow.analysis.interval import Interval, quotient
from frm_mlflow.config import GateConfig, ModelConfig
from frm_mlflow.errors import ConfigError, DeviceMismatchError
from frm_mlflow.gate import wall_time as undisturbed
from frm_mlflow.gate.checks import Check, Verdict
from frm_mlflow.prediction import PredictionOptions, Target, predict
from frm_mlflow.progress import console
from frm_mlflow.sweep.beside import Benchmarked, benchmark_beside, check_device
from frm_mlflow.sweep.compose import zoo_model
from frm_mlflow.tracking import models, server
from frm_mlflow.tracking.flavors import check_file, measurable
from frm_mlflow.tracking.history import read_history
from frm_mlflow.tracking.models import StoredModel

Metrics = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Evidence about a candidate: latency, FRM and its latency relative to the other model, if requested."""

    source: str
    device: str
    latency_ms: Interval | None = None
    frm: Interval | None = None
    regression: Interval | None = None
    reasons: tuple[str, ...] = ()

    def checks(self, asked: GateConfig) -> tuple[Check, ...]:
        """Return each requested limit with the evidence about its value."""
        missing = f"no {self.source} number" if self.source != "measured" else "a component could not be counted"
        ranges = (
            ("latency", asked.max_latency_ms, self.latency_ms, "ms"),
            ("FRM", asked.max_frm, self.frm, ""),
            (f"latency over that of {asked.against}", asked.largest_ratio, self.regression, ""),
        )
        return tuple(
            Check(name=name, limit=limit, found=value, unit=unit, why_missing=missing)
            for name, limit, value, unit in ranges
            if limit is not None
        )


def gathered(asked: GateConfig, client: server.Client, *, scratch: Path | None = None) -> Evidence:
    """Return the numbers that `asked.numbers` selects; `auto` measures if this machine is the device.

    Exports are written to `scratch`, else to a temporary folder that is removed after the call.

    Raises
    ------
    FrmError
        If they are not available.
    """
    if asked.numbers in OF_THE_SERVER:
        return OF_THE_SERVER[asked.numbers](asked, client)
    try:
        return _measured(asked, client, scratch)
    except DeviceMismatchError as error:
        if asked.numbers == "measured":
            raise
        evidence = _tracked(asked, client)
        return replace(evidence, reasons=(f"not measured: {error}", *evidence.reasons))


def _measured(asked: GateConfig, client: server.Client, scratch: Path | None) -> Evidence:
    """Measure until each verdict is clear, for at most `rounds` rounds.

    A round measures the candidate alternately with the other model, and with the baseline if FRM
    or only latency is requested. Each check of the numbers gets its share of the error that
    `confidence` allows, so that the total error of all checks does not exceed it.
    """
    device = check_device(asked).name
    confidence = 1 - (1 - asked.confidence) / asked.rounds
    against: list[Benchmarked] = []
    beside: list[Benchmarked] = []
    with ExitStack() as stack:
        folder = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frm-")))
        candidate = _subject(client, asked.candidate, folder / "candidate", asked)
        other = None if asked.against is None else _subject(client, asked.against, folder / "against", asked)
        for _ in range(asked.rounds):
            if other is not None:
                against.append(benchmark_beside(candidate, other, asked, scratch=folder))
            if other is None or asked.max_frm is not None:
                beside.append(benchmark_beside(candidate, zoo_model(asked.baseline), asked, scratch=folder))
            evidence = _evidence(against, beside, device=device, confidence=confidence)
            if not any(c.found is not None and c.verdict is Verdict.UNDECIDED for c in evidence.checks(asked)):
                break
    return evidence


def _evidence(against: list[Benchmarked], beside: list[Benchmarked], *, device: str, confidence: float) -> Evidence:
    """Return the combined evidence of the rounds against the other model and against the baseline."""
    to_other, to_baseline = ([one.measurement for one in done] for done in (against, beside))
    frm = _frm(beside[-1].record.metrics, to_baseline, confidence=confidence) if beside else None
    return Evidence(
        source="measured",
        device=device,
        latency_ms=undisturbed.latency_ms([*to_other, *to_baseline], confidence=confidence),
        frm=frm,
        regression=undisturbed.ratio(to_other, confidence=confidence) if against else None,
        reasons=tuple(said for rounds in (to_other, to_baseline) if rounds for said in undisturbed.reasons(rounds)),
    )


def _tracked(asked: GateConfig, client: server.Client) -> Evidence:
    """Take the newest benchmark runs of both models on the device from the server."""
    name = _device_name(asked) if asked.device.kind == "auto" else asked.device.name

    def metrics_of(uri: str) -> Metrics | None:
        stored = stored_model(client, uri)
        if stored is None:
            raise ConfigError(f"'{uri}' is not a model on the server: numbers=tracked needs models:/ or runs:/")
        columns = {
            schema.DEVICE.key: name,
            schema.RUNTIME.key: asked.runtime.name,
            schema.PRECISION.key: asked.precision.name,
            schema.BATCH_SIZE.key: str(asked.batch_size),
        }
        return models.tracked_metrics(client, stored, columns)

    candidate_metrics = metrics_of(asked.candidate)
    other = metrics_of(asked.against) if asked.against is not None else None
    latencies = [undisturbed.wall_latency_ms(metrics) if metrics else None for metrics in (candidate_metrics, other)]
    runs = ((asked.candidate, candidate_metrics), (asked.against, other))
    missing = [uri for uri, metrics in runs if uri and metrics is None]
    bare = [uri for uri, metrics in runs if metrics and not undisturbed.has_intervals(metrics)]
    return Evidence(
        source="tracked",
        device=name,
        latency_ms=latencies[0],
        frm=undisturbed.wall_frm(candidate_metrics) if candidate_metrics else None,
        regression=quotient(latencies[0], latencies[1]) if latencies[0] and latencies[1] else None,
        reasons=(
            *(f"no benchmark of {uri} on {name}: `frm-mlflow attach` logs one there" for uri in missing),
            *(
                f"the benchmark of {uri} has no interval (one launch, or an older version of frm-mlflow): "
                "measure it again with measure=default"
                for uri in bare
            ),
        ),
    )


def _predicted(asked: GateConfig, client: server.Client) -> Evidence:
    """Predict both models on the device from measurements of them, and of other models, on other devices."""
    asked_of = [uri for uri in (asked.candidate, asked.against) if uri is not None]
    stored = {uri: stored_model(client, uri) for uri in asked_of}
    names = {uri: found.name if found is not None else uri for uri, found in stored.items()}
    run_ids = [found.run_id for found in stored.values() if found is not None and found.run_id is not None]
    experiments = {server.experiment_name(client, asked.tracking.experiment)}
    experiments |= {client.get_experiment(client.get_run(run).info.experiment_id).name for run in run_ids}
    history = read_history(client, sorted(experiments), where="", refresh=False, out=console())
    target = Target(device=asked.device.name, runtime=asked.runtime.name, precision=asked.precision.name)
    options = PredictionOptions(confidence=asked.confidence, baseline=asked.baseline)
    prediction = predict(history.frame, target, options, np.random.default_rng(asked.measure.seed))
    table = prediction.tables()["models"].set_index("model")

    def believed(uri: str | None, figure: str, unit: str = "") -> Interval | None:
        if uri is None or names[uri] not in table.index:
            return None
        row = table.loc[names[uri], [f"{figure}{unit}", f"{figure}_low{unit}", f"{figure}_high{unit}"]]
        return None if row.isna().any() else Interval(*row.to_numpy(np.float64).tolist())

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


def _device_name(asked: GateConfig) -> str:
    """Return the name of the local device; raise `DeviceMismatchError` if it is not the requested one."""
    with devices.opened(asked.device) as host:
        return devices.resolve(asked.device, hardware=host.hardware, known=devices.known_devices()).name


def _subject(client: server.Client, uri: str, scratch: Path, asked: GateConfig) -> ModelConfig:
    """Return the model for a URI, a file path or a name in the zoo."""
    scratch.mkdir(exist_ok=True)
    stored = stored_model(client, uri)
    if stored is not None:
        path = stored.download(scratch, client=client)
        return measurable(path, scratch, name=stored.name, batch_size=asked.batch_size, trust=asked.trust)
    suffix = Path(uri).suffix
    if suffix in (".onnx", ".pt2"):
        if not asked.trust and Path(uri).is_file():
            check_file(Path(uri))
        return ModelConfig(name=Path(uri).stem, source=suffix[1:], path=uri)
    return zoo_model(uri)


def stored_model(client: server.Client, uri: str) -> StoredModel | None:
    """Return the model for a URI on the server; None for a file or a name in the zoo."""
    return models.find_model(client, uri) if uri.startswith(("models:/", "runs:/")) else None


def _frm(metrics: Metrics, rounds: undisturbed.Rounds, *, confidence: float) -> Interval | None:
    if schema.FRM.key not in metrics:
        return None
    latency = undisturbed.ratio(rounds, confidence=confidence)
    memory = undisturbed.peak_memory_ratio(rounds, confidence=confidence)
    return frm_interval(latency, flops_ratio=metrics[schema.RATIO_FLOPS.key], memory_ratio=memory)


OF_THE_SERVER = MappingProxyType({"tracked": _tracked, "predicted": _predicted})
