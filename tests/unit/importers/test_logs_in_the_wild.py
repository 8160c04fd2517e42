"""Logs as users keep them: several runs, other files next to them, older wordings, prefixes, other encodings."""

import shutil
from pathlib import Path

import pytest

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.importers import Import, read
from frm_mlflow.importers.trtexec import EMBEDDED

DATA = Path(__file__).parents[2] / "data"
STATISTIC = schema.LATENCY_STATISTIC.key


def imported(source: str, path: Path, **given: object) -> Import:
    return read(source, path, SourceConfig(name=source, given=given))


def write(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


# --- trtexec ---------------------------------------------------------------------------------


def trtexec(options: str, *, ms: float = 1.0, device: str = "NVIDIA A100-PCIE-40GB", more: str = "") -> str:
    model = options.partition("--onnx=")[2].partition(" --")[0]
    lines = [
        "=== Model Options ===",
        f"Model: {model}",
        "Precision: FP32+FP16",
        *more.splitlines(),
        f"Selected Device: {device}",
        "TensorRT version: 10.3.0",
        "=== Performance summary ===",
        f"Throughput: {1000 / ms:g} qps",
        f"Latency: min = {ms} ms, max = {2 * ms} ms, mean = {ms} ms, median = {ms} ms, percentile(99%) = {2 * ms} ms",
        "H2D Latency: min = 0 ms, max = 0 ms, mean = 0 ms, median = 0 ms, percentile(99%) = 0 ms",
        f"GPU Compute Time: min = {ms / 2} ms, max = {ms} ms, mean = {ms / 2} ms, median = {ms / 2} ms",
    ]
    body = "".join(f"[01/02/2026-03:04:05] [I] {line}\n" for line in lines)
    command = f"TensorRT.trtexec [TensorRT v100300] # trtexec {options}\n"
    return f"&&&& RUNNING {command}{body}&&&& PASSED {command}"


def test_each_run_in_a_log_is_a_benchmark_of_its_own_model(tmp_path: Path) -> None:
    text = trtexec("--onnx=resnet50.onnx --fp16", ms=2) + trtexec("--loadEngine=mobilenet_v2.engine --fp16", ms=0.5)
    text += "&&&& RUNNING TensorRT.trtexec # trtexec --onnx=bad.onnx\n&&&& FAILED TensorRT.trtexec # trtexec\n"

    found = imported("trtexec", write(tmp_path / "all.log", text))

    assert [(r.model, r.metrics[schema.LATENCY_P50.key]) for r in found.records] == [
        ("resnet50", 2),
        ("mobilenet_v2", 0.5),
    ]
    assert [(item.row, item.reason) for item in found.left_out] == [("3", "trtexec reports FAILED")]


def test_a_loaded_engine_has_only_the_precision_of_its_options(tmp_path: Path) -> None:
    stated = imported("trtexec", write(tmp_path / "a.log", trtexec("--loadEngine=a.engine --int8 --fp16")))
    silent = imported("trtexec", write(tmp_path / "b.log", trtexec("--loadEngine=a.engine")))

    assert stated.records[0].configuration.precision == "int8"
    assert silent.records[0].configuration.precision == "unknown", "trtexec prints the default for an engine"


@pytest.mark.parametrize(
    ("options", "more", "statistic"),
    [
        ("--onnx=a.onnx", "", "p50"),
        ("--onnx=a.onnx --streams=1", "Data transfers: Enabled", "p50"),
        ("--onnx=a.onnx --streams=8", "", "p50_of_8_streams"),
        ("--onnx=a.onnx --infStreams=4 --noDataTransfers", "", "p50_without_transfers_of_4_streams"),
        ("--onnx=a.onnx", "Data transfers: Disabled", "p50_without_transfers"),
        ("--onnx=a.onnx", "Inference Streams: 2", "p50_of_2_streams"),
    ],
)
def test_other_settings_give_another_statistic(tmp_path: Path, options: str, more: str, statistic: str) -> None:
    (record,) = imported("trtexec", write(tmp_path / "a.log", trtexec(options, more=more))).records

    assert record.tags[STATISTIC] == statistic


@pytest.mark.parametrize(
    ("more", "batch", "throughput"),
    [
        ("Input inference shape : input=16x3x224x224", 16, 16_000),
        ("Input binding for input with dimensions 8x3x224x224 is created.", 8, 8_000),
        ("Created input binding for images with dimensions 4x3x640x640", 4, 4_000),
        ("Batch: 32", 32, 1_000),
        ("Batch: Explicit", 1, 1_000),
    ],
)
def test_the_batch_comes_from_shapes_bindings_or_the_implicit_batch(
    tmp_path: Path, more: str, batch: int, throughput: float
) -> None:
    (record,) = imported("trtexec", write(tmp_path / "a.log", trtexec("--onnx=a.onnx", more=more))).records

    assert record.configuration.batch_size == batch
    assert record.metrics[schema.THROUGHPUT.key] == throughput, "an implicit batch is in trtexec's own figure"


@pytest.mark.parametrize("device", ["Orin", "Xavier", "NVIDIA Tegra X1", "NVIDIA Jetson Orin Nano", "NVIDIA Thor"])
def test_a_jetson_is_an_edge_device(tmp_path: Path, device: str) -> None:
    (record,) = imported("trtexec", write(tmp_path / "a.log", trtexec("--onnx=a.onnx", device=device))).records

    assert record.configuration.tier == "edge"


@pytest.mark.parametrize("device", ["NVIDIA A100-PCIE-40GB", "Tesla M40", "NVIDIA GeForce RTX 3090", "Quadro RTX 6000"])
def test_another_gpu_is_a_gpu(device: str) -> None:
    assert not EMBEDDED.search(device)


def test_a_path_with_spaces_is_one_path(tmp_path: Path) -> None:
    text = trtexec("--onnx=/data/My Models/resnet50.onnx --fp16")
    without_model_line = text.replace("Model: /data/My Models/resnet50.onnx", "Model: ")

    for number, content in enumerate((text, without_model_line)):
        (record,) = imported("trtexec", write(tmp_path / f"{number}.log", content)).records
        assert record.model == "resnet50"


@pytest.mark.parametrize(
    "prefixed",
    [
        lambda line: f"2026-01-02T03:04:05.123456Z {line}",
        lambda line: f"trt-1  | {line}",
        lambda line: f"\x1b[32m{line}\x1b[0m",
        lambda line: line.replace("[01/02/2026-03:04:05] ", ""),
        lambda line: line + "\r",
    ],
)
def test_prefixes_and_colours_are_no_obstacle(tmp_path: Path, prefixed: object) -> None:
    text = "\n".join(map(prefixed, trtexec("--onnx=resnet50.onnx").splitlines()))  # type: ignore[arg-type]

    (record,) = imported("trtexec", write(tmp_path / "a.log", text)).records

    assert (record.model, record.metrics[schema.LATENCY_P50.key]) == ("resnet50", 1.0)
    assert record.configuration.device == "a100_pcie_40gb"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_powershells_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    (record,) = imported("trtexec", write(tmp_path / "a.log", trtexec("--onnx=a.onnx"), encoding=encoding)).records

    assert record.model == "a"


def test_tensorrt_7_printed_a_line_per_statistic(tmp_path: Path) -> None:
    lines = (
        "&&&& RUNNING TensorRT.trtexec # trtexec --onnx=a.onnx", "[I] Host Latency",
        "[I] min: 1.5 ms (end to end 1.6 ms)", "[I] max: 6.0 ms (end to end 7.0 ms)",
        "[I] mean: 1.75 ms (end to end 3.0 ms)", "[I] median: 1.65 ms (end to end 3.1 ms)",
        "[I] percentile: 1.9 ms at 99% (end to end 3.3 ms at 99%)", "[I] throughput: 600 qps", "[I] walltime: 3.0 s",
        "[I] Enqueue Time", "[I] median: 0.9 ms", "[I] GPU Compute", "[I] min: 1.4 ms", "[I] median: 1.5 ms",
    )  # fmt: skip
    (record,) = imported("trtexec", write(tmp_path / "a.log", "\n".join(lines)), device="a100").records

    assert record.metrics[schema.LATENCY_P50.key] == 1.65
    assert record.metrics[schema.LATENCY_P99.key] == 1.9
    assert record.metrics[schema.LATENCY_DEVICE_P50.key] == 1.5
    assert record.metrics[schema.THROUGHPUT.key] == 600


def test_other_exports_and_a_truncated_file_do_not_stop_a_folder(tmp_path: Path) -> None:
    for number in range(9):
        write(tmp_path / f"{number}.log", trtexec("--onnx=a.onnx", ms=1 + number))
    write(tmp_path / "cut.log", trtexec("--onnx=a.onnx")[:400])
    write(tmp_path / "output.json", '[{"name": "output", "dimensions": "1x1000", "values": [0.1]}]')
    write(tmp_path / "layers.json", '{"Layers": ["conv1"], "Bindings": []}')
    write(tmp_path / "README.txt", "These logs were made on the lab machine.")
    write(tmp_path / "tegrastats.txt", "RAM 2000/8000MB CPU [1%@1190]")
    write(tmp_path / "built.log", "&&&& RUNNING TensorRT.trtexec # trtexec --onnx=a.onnx --buildOnly\n&&&& PASSED\n")

    found = imported("trtexec", tmp_path)

    assert len(found.records) == 9
    assert {item.file for item in found.left_out} == {
        "cut.log", "output.json", "layers.json", "README.txt", "tegrastats.txt", "built.log",
    }  # fmt: skip
    assert all(item.reason for item in found.left_out)


def test_if_nothing_can_be_read_the_first_reason_is_the_error(tmp_path: Path) -> None:
    write(tmp_path / "a.log", trtexec("--onnx=a.onnx")[:300])
    write(tmp_path / "b.log", "")

    with pytest.raises(ImportFileError, match=r"a\.log.*Latency"):
        imported("trtexec", tmp_path)


def test_a_log_without_a_model_does_not_stop_the_others(tmp_path: Path) -> None:
    write(tmp_path / "a.log", trtexec("--onnx=a.onnx"))
    shutil.copy(DATA / "trtexec/mobilenet_v2_times.json", tmp_path / "times.json")

    found = imported("trtexec", tmp_path)

    assert len(found.records) == 1
    assert "set source.given.model" in found.left_out[0].reason
    with pytest.raises(ConfigError, match=r"source\.given\.model"):
        imported("trtexec", tmp_path / "times.json")


# --- onnxruntime_perf_test ---------------------------------------------------------------------


def perf_test(ms: float, *, model: str = "resnet50.onnx", options: str = "-I -r 100 -s", noise: str = "") -> str:
    return (
        f"$ onnxruntime_perf_test {options} {model}\n{noise}Session creation time cost: 0.05 s\n"
        f"First inference time cost: 9 ms\nTotal inference time cost: 2.1 s\nTotal inference requests: 100\n"
        f"Average inference time cost total: {ms} ms\nTotal inference run time: 2.1 s\n"
        f"Number of inferences per second: 9\nAvg CPU usage: 90 %\nPeak working set size: 52428800 bytes\n"
        f"Avg CPU usage:90\nPeak working set size:52428800\nRuns:100\n"
        f"Min Latency: 0.001 s\nMax Latency: 0.004 s\nP50 Latency: {ms / 1000} s\nP90 Latency: 0.004 s\n"
    )


@pytest.mark.parametrize(
    "noise",
    [
        "2026-01-02 [E:onnxruntime:Default, env.cc] pthread_setaffinity_np failed for thread: 47, error code: 22\n",
        '2026-01-02 [W:onnxruntime:Default, device.cc] GPU device discovery failed: open "/sys/class/drm"\n',
        "reading /data/failed/ERROR/input.pb\n",
    ],
)
def test_a_harmless_line_does_not_make_a_failure(tmp_path: Path, noise: str) -> None:
    (record,) = imported(
        "onnxruntime_perf_test", write(tmp_path / "a.log", perf_test(2, noise=noise)), device="i7_12700h"
    ).records

    assert (record.model, record.metrics[schema.LATENCY_P50.key]) == ("resnet50", 2.0)


def test_several_runs_of_perf_test_are_several_benchmarks(tmp_path: Path) -> None:
    text = perf_test(2) + perf_test(3, model='"/data/My Models/mobilenet_v2.onnx"', options="-e cuda")

    found = imported("onnxruntime_perf_test", write(tmp_path / "a.log", text), device="box", tier="gpu")

    assert [(r.model, r.metrics[schema.LATENCY_P50.key], r.configuration.compute_unit) for r in found.records] == [
        ("resnet50", 2.0, "cpu"),
        ("mobilenet_v2", 3.0, "gpu"),
    ]


def test_concurrent_calls_are_another_statistic(tmp_path: Path) -> None:
    (record,) = imported(
        "onnxruntime_perf_test", write(tmp_path / "a.log", perf_test(2, options="-c 4 -s")), device="x", tier="cpu"
    ).records

    assert record.tags[STATISTIC] == "p50_of_4_at_once"


def test_a_newer_result_file_has_the_submission_before_the_whole(tmp_path: Path) -> None:
    text = "resnet18,0.001,0.02,60817408,80,0\nresnet18,0.001,0.03,60817408,80,1\nresnet18,0.0"

    found = imported("onnxruntime_perf_test", write(tmp_path / "r.csv", text), device="x", tier="cpu")

    assert found.records[0].metrics[schema.LATENCY_P50.key] == 25.0
    assert [item.row for item in found.left_out] == ["3"], "the line that was cut off"


# --- benchmark_model ---------------------------------------------------------------------------


def benchmark_model(us: float, *, graph: str = "a.tflite", prefix: str = "", more: str = "") -> str:
    lines = [
        "STARTING!", f"Graph: [{graph}]", *more.splitlines(), f"Loaded model {graph}",
        "count=9 first=2000 curr=2000 min=2000 max=2000 avg=2000 std=1",
        f"count=80 first={us} curr={us} min={us} max={us} avg={us} std=1",
        f"Inference timings in us: Init: 9, First inference: 2000, Warmup (avg): 2000, Inference (avg): {us}",
        "Memory footprint delta from the start of the tool (MB): init=10.5 overall=25.25",
    ]  # fmt: skip
    return "".join(f"{prefix}{line}\n" for line in lines)


def test_several_runs_of_benchmark_model_are_several_benchmarks(tmp_path: Path) -> None:
    text = benchmark_model(1000, graph="/sdcard/My Models/resnet50.tflite") + benchmark_model(500, graph="b.tflite")

    found = imported("benchmark_model", write(tmp_path / "a.log", text), device="Google Pixel 7")

    assert [(r.model, r.metrics[schema.LATENCY_P50.key]) for r in found.records] == [("resnet50", 1.0), ("b", 0.5)]


@pytest.mark.parametrize("prefix", ["INFO: ", "05-13 12:00:00.123  1234  1234 I tflite  : "])
def test_benchmark_model_behind_a_loggers_prefix(tmp_path: Path, prefix: str) -> None:
    (record,) = imported(
        "benchmark_model", write(tmp_path / "a.log", benchmark_model(700, prefix=prefix)), device="Google Pixel 7"
    ).records

    assert (record.model, record.metrics[schema.LATENCY_P50.key]) == ("a", 0.7)


def test_a_delegate_that_failed_is_a_warning_if_there_are_figures(tmp_path: Path) -> None:
    text = benchmark_model(700, more="Failed to apply GPU delegate.\nEnable op profiling: [1]")

    (record,) = imported("benchmark_model", write(tmp_path / "a.log", text), device="Google Pixel 7").records

    assert record.configuration.compute_unit == "cpu"
    assert record.tags[STATISTIC] == "profiled_mean", "operator profiling slows the network down"


def test_the_oldest_benchmark_model_has_no_stats(tmp_path: Path) -> None:
    text = (
        "STARTING!\nGraph: [a.tflite]\ncount=25 first=9 curr=9 min=9 max=9 avg=66767.6 std=39\n"
        "Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6\n"
    )
    (record,) = imported("benchmark_model", write(tmp_path / "a.log", text), device="Google Pixel 2").records

    assert record.metrics[schema.LATENCY_MEAN.key] == 66.7676


# --- MLPerf ------------------------------------------------------------------------------------


def loadgen(*, scenario: str = "SingleStream", mode: str = "PerformanceOnly") -> str:
    text = (DATA / "mlperf/single_stream/mlperf_log_summary.txt").read_text()
    lines = [
        f"Scenario : {scenario}"
        if line.startswith("Scenario")
        else f"Mode     : {mode}"
        if line.startswith("Mode")
        else line
        for line in text.splitlines()
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("scenario", "mode"),
    [("Single Stream", "Performance"), ("SingleStream", "PerformanceOnly"), ("Single Stream", "PerformanceOnly")],
)
def test_older_wordings_of_loadgen_are_the_same_run(tmp_path: Path, scenario: str, mode: str) -> None:
    file = write(tmp_path / "mlperf_log_summary.txt", loadgen(scenario=scenario, mode=mode))

    (record,) = imported("mlperf", file, model="resnet50", device="a100").records

    assert record.tags[STATISTIC] == "p50"


@pytest.mark.parametrize("mode", ["Accuracy", "AccuracyOnly", "FindPeakPerformance"])
def test_other_modes_are_left_out(tmp_path: Path, mode: str) -> None:
    file = write(tmp_path / "mlperf_log_summary.txt", loadgen(mode=mode))

    assert mode in imported("mlperf", file, model="resnet50", device="a100").left_out[0].reason


def test_mlcommons_folders_name_system_and_benchmark_and_audits_are_left_out(tmp_path: Path) -> None:
    for system in ("Orin_MaxQ", "R750xa_A100x4"):
        run = "performance/run_1/mlperf_log_summary.txt"
        write(tmp_path / f"closed/ACME/results/{system}/resnet50/SingleStream/{run}", loadgen())
        write(tmp_path / f"closed/ACME/compliance/{system}/resnet50/SingleStream/TEST01/{run}", loadgen())

    plain = imported("mlperf", tmp_path, tier="gpu")
    placed = imported("mlperf", tmp_path, model="{parent}", device="{parent2}", tier="gpu")

    assert {(r.model, r.configuration.device) for r in plain.records} == {
        ("resnet50", "Orin_MaxQ"),
        ("resnet50", "R750xa_A100x4"),
    }
    assert {(r.model, r.configuration.device) for r in placed.records} == {
        ("resnet50", "Orin_MaxQ"),
        ("resnet50", "R750xa_A100x4"),
    }
    assert {item.reason for item in plain.left_out} == {"an audit of a result (compliance), not a result"}


# --- optimum-benchmark, absurd figures ---------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ('["NaN", "NaN"]', "not numbers"),
        ("[0]", "plausible"),
        ("[-1]", "plausible"),
        ("[1e300]", "plausible"),
        ("[]", "0 of 0"),
    ],
)
def test_latencies_that_cannot_be_true_do_not_enter(tmp_path: Path, values: str, match: str) -> None:
    report = f'{{"forward": {{"latency": {{"unit": "s", "values": {values}}}}}}}'
    file = write(tmp_path / "benchmark_report.json", report)

    try:
        found = imported("optimum-benchmark", file, model="a", device="box", tier="cpu")
    except ImportFileError as error:
        reasons = [str(error)]
    else:
        assert not found.records
        reasons = [item.reason for item in found.left_out]
    assert match in reasons[0]


def test_a_multi_stream_query_of_v05_is_not_taken_for_a_sample(tmp_path: Path) -> None:
    text = (
        "Scenario : Multi Stream\nMode     : Performance\nSamples per query : 240\nResult is : VALID\n"
        'Per-query latency:  "target_ns" : 50000000\n50.00 percentile latency (ns)   : 45000000\n\n'
        "Per-sample latency:\nMean latency (ns)               : 28000000\n"
        "50.00 percentile latency (ns)   : 27000000\n\n"
        "================\nTest Parameters Used\n================\nsamples_per_query : 240\n"
    )
    (record,) = imported("mlperf", write(tmp_path / "mlperf_log_summary.txt", text), model="a", device="a100").records

    assert record.configuration.batch_size == 240
    assert record.metrics[schema.LATENCY_P50.key] == pytest.approx(45.0)
    assert schema.LATENCY_MEAN.key not in record.metrics


def test_timms_newest_files_shorten_the_gpus_name(tmp_path: Path) -> None:
    text = (DATA / "timm/benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv").read_text()
    file = write(tmp_path / "benchmark-infer-amp-nchw-pt291-cu128-4090.csv", text)

    assert {r.configuration.device for r in imported("timm", file).records} == {"rtx_4090"}
