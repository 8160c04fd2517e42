"""A process that reads mutated files and prints each outcome: `python -m tests.fuzz.child SEED...`.

If a file makes it crash, `tests.fuzz.importers` starts another one for the rest.
"""

from __future__ import annotations

import json
import math
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import FrmError
from frm_mlflow.importers import read
from frm_mlflow.records import BenchmarkRecord
from tests.fuzz.mutate import mutated
from tests.fuzz.samples import Sample, samples

GIVEN = {"model": "resnet18", "device": "box", "tier": "cpu"}
MIB_PER_GIB = 1024


def main() -> None:
    """Read the input for each seed in the arguments; print one line of JSON before and one after each."""
    all_samples = samples()
    base_mib = peak_mib()
    for seed in map(int, sys.argv[1:]):
        say({"seed": seed, "begin": True})
        folder = Path(tempfile.mkdtemp(prefix="frm-fuzz-"))
        try:
            say({"seed": seed, **outcome(seed, all_samples, folder), "grown_mib": peak_mib() - base_mib})
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def outcome(seed: int, all_samples: list[Sample], folder: Path) -> dict[str, object]:
    """Write the input for `seed`, import it, and return the outcome."""
    rng = random.Random(seed)
    sample = all_samples[seed % len(all_samples)]
    content = mutated(sample.content, [other.content for other in all_samples], rng)
    for name, beside in sample.beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(beside)
    file = folder / sample.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    given = GIVEN if sample.source != "aihub" and rng.random() < 0.8 else {}
    started_s = time.process_time()
    result: dict[str, object] = {"source": sample.source, "file": sample.name, "problem": ""}
    try:
        path = folder if sample.as_folder else file
        found = read(sample.source, path, SourceConfig(name=sample.source, filter="all", given=given))
        result["problem"] = next((problem for record in found.records if (problem := absurd(record))), "")
        result["kind"] = "absurd" if result["problem"] else "read"
    except FrmError as error:
        result["kind"] = "refused" if str(error).strip() else "uncaught"
    except Exception:
        result |= {"kind": "uncaught", "problem": traceback.format_exc()[-600:]}
    return result | {"seconds": time.process_time() - started_s}


def absurd(record: BenchmarkRecord) -> str:
    """Return what cannot be true of a record, by rules written independently of the project's own check."""
    for key, value in record.metrics.items():
        unit = schema.METRIC_BY_KEY[key].unit
        if not math.isfinite(value):
            return f"{key} is {value}"
        if key.startswith("latency/") and unit == "ms" and not 1e-6 <= value <= 86_400_000:
            return f"{key} is {value} ms"
        if unit == "MiB" and not 0 <= value <= 100 * 2**20:
            return f"{key} is {value} MiB"
        if unit == "%" and not 0 <= value <= 100:
            return f"{key} is {value} %"
        if value < 0 or (key in (schema.THROUGHPUT.key, schema.GMACS.key) and value == 0):
            return f"{key} is {value}"
    if not {schema.LATENCY_P50.key, schema.MEMORY_PEAK.key, schema.THROUGHPUT.key} & set(record.metrics):
        return "no main metric"
    batch = record.configuration.batch_size
    if type(batch) is not int or not 1 <= batch < 10**6:
        return f"batch size {batch}"
    if not 1990 <= record.start_time.year < 2100:
        return f"start {record.start_time}"
    names = (record.model, record.configuration.device, record.configuration.runtime, record.configuration.precision)
    if not all(name and len(name) <= 300 and name.isprintable() for name in names):
        return f"names {names!r}"[:200]
    json.loads(record.all_tags()[schema.PROVENANCE.key])
    return ""


if __name__ == "__main__":
    main()
