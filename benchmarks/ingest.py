"""Compare runs logged per second to an MLflow server on SQLite: `tracking.bulk` against a loop of fluent calls.

    python benchmarks/ingest.py --check

Both log the same records with the same metrics, tags and params, in alternating blocks, so that
a slowdown of the machine affects both. `--check` exits with 1 unless ours is three times as fast.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow_server import running_server
from results import add_option, recorded
from seeding import synthetic_records

from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.tracking import server
from frm_mlflow.tracking.bulk import log_records

FACTOR = 3.0
OURS, FLUENT = "ours", "fluent"


def log_fluently(records: Sequence[BenchmarkRecord], experiment: str) -> None:
    """Log records as a tutorial would, with one call per key."""
    mlflow.set_experiment(experiment)
    for record in records:
        with mlflow.start_run(run_name=record.name):
            for key, text in record.all_tags().items():
                mlflow.set_tag(key, text)
            for key, text in record.params.items():
                mlflow.log_param(key, text)
            for key, number in record.metrics.items():
                mlflow.log_metric(key, number)


def seconds_of(uri: str, records: Sequence[BenchmarkRecord], way: str) -> float:
    """Return how long one method takes to log `records`."""
    client = server.connect(uri)
    mlflow.set_tracking_uri(uri)
    start = time.perf_counter()
    if way == FLUENT:
        log_fluently(records, FLUENT)
    else:
        report = log_records(client, OURS, records)
        if report.added != len(records):
            raise RuntimeError(f"{report.added} of {len(records)} records were logged: {report.failures[:1]}")
    return time.perf_counter() - start


def same_content(uri: str) -> bool:
    """Return whether both methods have logged the same metrics, params and frm tags."""
    client = MlflowClient(uri)
    found = []
    for name in (OURS, FLUENT):
        experiment = client.get_experiment_by_name(name)
        runs = client.search_runs([experiment.experiment_id], max_results=50_000) if experiment else []
        found.append(sorted((_tags(run), sorted(run.data.params.items()), _metrics(run)) for run in runs))
    return found[0] == found[1]


def _tags(run: mlflow.entities.Run) -> list[tuple[str, str]]:
    return sorted((key, value) for key, value in run.data.tags.items() if key.startswith("frm."))


def _metrics(run: mlflow.entities.Run) -> list[tuple[str, float]]:
    return sorted((key, value) for key, value in run.data.metrics.items() if not key.startswith("tracking/"))


def main() -> int:
    """Run both methods in alternating blocks and print the rates; return 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--records", type=int, default=10, help="records in a block of each way")
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless ours is three times as fast")
    add_option(parser)
    arguments = parser.parse_args()
    records = list(synthetic_records(arguments.blocks * arguments.records, rng=np.random.default_rng(0)))
    seconds = {OURS: 0.0, FLUENT: 0.0}
    with TemporaryDirectory() as scratch, running_server(Path(scratch), workers=arguments.workers) as uri:
        for first in range(0, len(records), arguments.records):
            for way in seconds:
                seconds[way] += seconds_of(uri, records[first : first + arguments.records], way)
        same = same_content(uri)
    rates = {way: len(records) / total for way, total in seconds.items()}
    factor = rates[OURS] / rates[FLUENT]
    for way, rate in rates.items():
        print(f"{way:8} {rate:8.1f} runs/s")
    print(f"ours / fluent: {factor:.1f} (needed: {FACTOR:g}); same content: {same}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs_per_s": rates, "factor": factor}, indent=2))
    return 0 if (same and factor >= FACTOR) or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
