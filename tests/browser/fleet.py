"""Two measured and one imported device, with models whose names try to break a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
from mlflow import MlflowClient

from benchmarks.seeding import seed
from frm_mlflow import schema
from frm_mlflow.records import BenchmarkRecord, Configuration
from frm_mlflow.tracking.bulk import log_records

NASTY = (
    "<img src=x onerror=alert(1)>",
    'it\'s, "quoted"',
    "مرحبا بالعالم",
    "network 🦊 v2",
    "</script><script>alert(2)</script>",
)
NETWORKS = {
    # GMACs, top-1, family
    "resnet50": (4.09, 76.1, "cnn"),
    "resnet18": (1.81, 69.8, "cnn"),
    "mobilenet_v2": (0.30, 71.9, "mobile_cnn"),
    "mobilenet_v3_small": (0.057, 67.7, "mobile_cnn"),
    "efficientnet_b0": (0.39, 77.7, "efficient"),
    "levit_128s": (0.31, 76.6, "hybrid"),
    "swin_t": (4.49, 81.5, "transformer"),
    **{name: (0.5 + number, 60.0 + number, "other") for number, name in enumerate(NASTY)},
}
DEVICES = {
    "this machine": ("cpu", "onnxruntime", schema.SOURCE_MEASURED, 20.0),
    "Galaxy <b>S24</b>": ("edge", "litert", "imported:aihub", 1.0),
    "Raspberry Pi": ("edge", "litert", schema.SOURCE_MEASURED, 60.0),
}
MANY = 3000
BOARDS = 40
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def log_fleet(uri: str, *, experiment: str = "frm") -> None:
    """Log the fleet to an experiment, and create an empty experiment."""
    client = MlflowClient(uri)
    report = log_records(client, experiment, fleet())
    assert (report.added, report.failed) == (len(NETWORKS) * len(DEVICES), 0)
    if client.get_experiment_by_name("empty") is None:
        client.create_experiment("empty")


def log_odd_experiments(uri: str) -> None:
    """Log a single device, a single model, 3,000 models and 40 devices, each to a separate experiment."""
    client = MlflowClient(uri)
    device, model = next(iter(DEVICES)), "resnet50"
    log_records(client, "one device", [each for each in fleet() if each.configuration.device == device])
    log_records(client, "one model", [each for each in fleet() if each.model == model])
    log_records(client, "many devices", [_on_board(number) for number in range(BOARDS)])
    seed(uri, "many models", MANY, rng=np.random.default_rng(0), models=MANY)


def _on_board(number: int) -> BenchmarkRecord:
    record, board = fleet()[0], f"Board {number}"
    configuration = replace(record.configuration, device=board, chip=board)
    return replace(record, configuration=configuration, identity={"row": board})


def fleet() -> list[BenchmarkRecord]:
    """Return a benchmark of every network on every device; the latency ranking differs between devices."""
    return [_record(model, place, device) for device in DEVICES for place, model in enumerate(NETWORKS)]


def _record(model: str, place: int, device: str) -> BenchmarkRecord:
    gmacs, top1, family = NETWORKS[model]
    tier, runtime, source, factor = DEVICES[device]
    latency = factor * gmacs * (1.6 if (place + len(device)) % 3 == 0 else 1.0)
    interval = {}
    if source == schema.SOURCE_MEASURED:
        interval = {schema.LATENCY_P50_LOW.key: latency * 0.97, schema.LATENCY_P50_HIGH.key: latency * 1.04}
    return BenchmarkRecord(
        model=model,
        family=family,
        configuration=Configuration(device=device, tier=tier, runtime=runtime, precision="fp32", chip=device),
        metrics={
            schema.LATENCY_P50.key: latency,
            schema.MEMORY_PEAK.key: 20 + 10 * gmacs,
            schema.GMACS.key: gmacs,
            schema.PARAMS_M.key: 3 * gmacs,
            schema.TOP1.key: top1,
            **interval,
        },
        source=source,
        identity={"row": f"{model} {device}"},
        start_time=START,
        end_time=START + timedelta(seconds=1),
        tags={schema.UNSTABLE.key: "cv"} if model == "swin_t" else {},
    )
