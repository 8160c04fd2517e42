"""Import timm's benchmark CSVs, with accuracy from its results CSV if `source.accuracy` names one.

Device, precision, memory layout, framework and CUDA version are in the file's name:
`benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv`. Times are the mean of one step over a batch,
which is 512 on many GPUs and differs between models: the batch size is part of the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import MissingFactError
from frm_mlflow.importers import files, limits, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log

NAME = re.compile(
    r"benchmark-infer-(?P<precision>[a-z0-9_]+)-(?P<layout>nchw|nhwc)-pt(?P<torch>\d+)-"
    r"(?:cu(?P<cuda>\d+)-)?(?P<device>.+?)(?P<dynamo>-dynamo)?\.csv"
)
NEEDED = ("model", "infer_batch_size", "infer_step_time")
METRICS: Mapping[str, schema.Metric] = {
    "infer_step_time": schema.LATENCY_P50,
    "infer_samples_per_sec": schema.THROUGHPUT,
    "infer_gmacs": schema.GMACS,
    "infer_macts": schema.ACTIVATIONS_M,
    "param_count": schema.PARAMS_M,
}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of one set of weights."""

    top1: float
    top5: float
    weights: str


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield one row for each line of the benchmark CSVs at `path`."""
    accuracy = _accuracies(Path(options.accuracy)) if options.accuracy else {}
    return logs.each(path, ("benchmark-*.csv",), lambda log: _read_one(log, options, accuracy))


def _read_one(log: Log, options: SourceConfig, accuracy: Mapping[tuple[str, int], Accuracy]) -> Iterator[Row | LeftOut]:
    if Path(log.name).name.startswith("benchmark-train-"):
        yield LeftOut(log.name, "*", "times of training, not of inference")
        return
    stated = _from_name(Path(log.name).name)
    facts = logs.facts_of(options, log.path, {"model": "?", "device": "?"} | stated)
    if facts["device"] == "?":
        raise MissingFactError(f"{log.name} is not named as timm names its benchmarks: set source.given.device=NAME")
    table = logs.table(log)
    for line, cells in table:
        if isinstance(cells, LeftOut):
            yield cells
            continue
        missing = [name for name in NEEDED if name not in cells]
        if missing:
            limits.fail(log.name, f"has no column {', '.join(missing)}: not timm's inference benchmark", row=1)
        yield logs.guarded(log.name, str(line), lambda n=line, c=cells: _row(log, n, c, facts, accuracy))  # type: ignore[misc]


def _row(
    log: Log,
    line: int,
    cells: Mapping[str, str],
    facts: Mapping[str, object],
    accuracy: Mapping[tuple[str, int], Accuracy],
) -> Row | LeftOut:
    model = files.word(cells["model"], log.name, line)
    values = {key.key: files.number(cells.get(name), log.name, line, name=name) for name, key in METRICS.items()}
    metrics = {key: value for key, value in values.items() if value is not None}
    if schema.LATENCY_P50.key not in metrics:
        return LeftOut(log.name, str(line), "no step time")
    metrics[schema.LATENCY_MEAN.key] = metrics[schema.LATENCY_P50.key]
    size = files.whole(cells.get("infer_img_size"), log.name, line, name="infer_img_size")
    batch = files.whole(cells["infer_batch_size"], log.name, line, name="infer_batch_size")
    tags = {}
    known = accuracy.get((model.partition(".")[0], size or 0))
    if known:
        metrics |= {schema.TOP1.key: known.top1, schema.TOP5.key: known.top5}
        tags[schema.ACCURACY_SOURCE.key] = f"timm results: {known.weights} at {size}"
    return logs.row_of(
        log,
        dict(facts) | {"model": model, "input_size": size, "batch_size": batch},
        row=str(line),
        defaults={"runtime": "torch", "precision": "unknown"},
        metrics=metrics,
        latency_statistic="mean",
        series=f"{log.name}:{model}@{size}/{batch}",
        tags=tags,
        provenance={"tool": "timm benchmark.py"},
    )


def _from_name(name: str) -> dict[str, str]:
    """Return the facts in a file's name; empty if the name does not follow timm's pattern."""
    found = NAME.fullmatch(name)
    if found is None:
        return {}
    on_cpu = found["device"].startswith("cpu-") or not found["cuda"]
    versions = [f"torch {_dotted(found['torch'])}"]
    if found["cuda"]:
        versions.append(f"cuda {found['cuda'][:-1]}.{found['cuda'][-1]}")
    return {
        "device": re.sub(r"^(\d{4})$", r"rtx_\1", found["device"].removeprefix("cpu-")),
        "assumed_tier": "cpu" if on_cpu else "gpu",
        "compute_unit": "cpu" if on_cpu else "gpu",
        "precision": found["precision"],
        "runtime": "torch_compile" if found["dynamo"] else "torch",
        "runtime_version": " ".join([*versions, found["layout"]]),
    }


def _dotted(digits: str) -> str:
    """Return `pt113` as 1.13 and `pt240` as 2.4.0.

    >>> _dotted("113"), _dotted("240")
    ('1.13', '2.4.0')
    """
    return f"1.{digits[1:]}" if digits.startswith("1") else ".".join(digits)


def _accuracies(path: Path) -> dict[tuple[str, int], Accuracy]:
    """Return accuracy by (architecture, input size), for the best weights at that size."""
    found: dict[tuple[str, int], Accuracy] = {}
    for line, cells in files.read_csv(files.read_text(path), path.name):
        with limits.expected_layout(path.name):
            weights = files.word(cells["model"], path.name, line)
            size = files.whole(cells["img_size"], path.name, line, name="img_size")
            top1 = files.number(cells["top1"], path.name, line, name="top1")
            top5 = files.number(cells["top5"], path.name, line, name="top5")
        key = (weights.partition(".")[0], size or 0)
        if top1 is not None and top5 is not None and (key not in found or top1 > found[key].top1):
            found[key] = Accuracy(top1, top5, weights)
    return found
