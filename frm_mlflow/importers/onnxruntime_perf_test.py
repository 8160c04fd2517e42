"""Import onnxruntime_perf_test: the text it prints (old and current wording), and its result file.

The result file has no header: `model,seconds,peak working set in bytes,CPU usage,run`, one line per
run (newer versions put the time until submission before the total), and with `-s` statistics
after an empty line. Memory is the peak of the whole process. A text may contain several runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frm_mlflow import schema, tool_output
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ImportFileError
from frm_mlflow.importers import files, limits, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log

DEFAULTS: Mapping[str, Any] = {"runtime": "onnxruntime", "precision": "unknown", "compute_unit": "cpu"}
UNITS: Mapping[str, str] = {
    "cpu": "cpu", "dnnl": "cpu", "xnnpack": "cpu", "acl": "cpu", "armnn": "cpu",
    "cuda": "gpu", "tensorrt": "gpu", "nvtensorrtrtx": "gpu", "rocm": "gpu", "migraphx": "gpu", "dml": "gpu",
    "qnn": "npu", "nnapi": "npu", "vitisai": "npu", "snpe": "npu",
}  # fmt: skip
"""Compute unit by execution provider (`-e`); others (openvino, coreml) run on several units."""
_NUMBER = r"[\d.eE+-]{1,40}"
_RUN = re.compile(
    rf"(?P<model>[^,]*),(?:{_NUMBER},)?(?P<seconds>{_NUMBER}),(?P<peak>\d{{1,18}}),(?P<cpu>[\d.eE+-]{{0,40}}),(?P<run>\d{{1,18}})"
)


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield one row for each run in the logs, and one for each model in the result files at `path`."""
    return logs.each(path, ("*.log", "*.txt", "*.csv"), lambda log: _read_one(log, options))


def _read_one(log: Log, options: SourceConfig) -> Iterator[Row | LeftOut]:
    lines = log.lines()
    if lines and _RUN.fullmatch(lines[0].strip()):
        yield from _result_file(log, lines, options)
        return
    for number, text in enumerate(tool_output.perf_test_runs(lines), start=1):
        yield logs.guarded(log.name, str(number), lambda text=text, row=str(number): _printed(log, text, row, options))  # type: ignore[misc]


def _result_file(log: Log, lines: list[str], options: SourceConfig) -> Iterator[Row | LeftOut]:
    runs: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or re.match(r"(Min|Max|P\d+) Latency", line):
            continue
        run = _RUN.fullmatch(line.strip())
        seconds = files.number(run["seconds"], log.name, number, name="seconds") if run else None
        if run is None or seconds is None:
            problem = "is not `model,seconds,bytes,cpu,run`; cut off?"
            yield LeftOut(log.name, str(number), problem, ImportFileError(problem, file=log.name, row=str(number)))
            continue
        runs.setdefault(run["model"], []).append(seconds * 1000)
        peaks[run["model"]] = max(peaks.get(run["model"], 0), int(run["peak"]))
    for model, samples in runs.items():
        facts = {"model": logs.model_in(model)}
        peak = {schema.MEMORY_PEAK.key: peaks[model] / tool_output.MIB} if peaks[model] else {}
        metrics = logs.summary(samples) | peak
        yield logs.guarded(log.name, model, lambda f=facts, m=metrics, r=model: _row(log, f, m, "p50", r, options))  # type: ignore[misc]


def _printed(log: Log, text: str, row: str, options: SourceConfig) -> Row | LeftOut:
    try:
        printed = tool_output.onnxruntime_perf_test(text)
    except tool_output.ToolFailedError:
        return LeftOut(log.name, "*" if row == "1" else row, "onnxruntime_perf_test reports a failure")
    except tool_output.NotPrintedError as error:
        limits.fail(log.name, str(error), row=row)
    command = next((line for line in text.split("\n") if "onnxruntime_perf_test" in line), "")
    statistic = printed.statistic
    at_once = re.search(r"\s-c (\d{1,6})\b", command)
    if at_once and int(at_once[1]) > 1:
        statistic += f"_of_{at_once[1]}_at_once"
    provider = re.search(r"\s-e (\w{1,40})", command)
    stated = {"model": _model(text), "compute_unit": UNITS.get(provider[1].lower(), "mixed") if provider else ""}
    return _row(log, stated, printed.metrics, statistic, row, options)


def _model(text: str) -> str:
    """Return the name of the last model file in the text; a quoted path may contain spaces."""
    paths = (
        path
        for line in text.split("\n")
        if ".onnx" in line or ".ort" in line
        for path in re.findall(r"[^\s\"']{1,400}\.(?:onnx|ort)\b|(?<=[\"'])[^\"']{1,400}\.(?:onnx|ort)(?=[\"'])", line)
    )
    return logs.model_in(max(enumerate(paths), default=(0, ""))[1])


def _row(
    log: Log,
    stated: Mapping[str, Any],
    metrics: Mapping[str, float],
    statistic: str,
    row: str,
    options: SourceConfig,
) -> Row:
    return logs.row_of(
        log,
        logs.facts_of(options, log.path, stated),
        row=row,
        defaults=DEFAULTS,
        metrics=metrics,
        latency_statistic=statistic,
        memory_definition="process_peak",
        provenance={"tool": "onnxruntime_perf_test"},
    )
