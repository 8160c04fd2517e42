"""Every tool's file in its real format, with the figures that a person would read in it."""

import json
import re
from pathlib import Path

import pytest

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.importers import Import, read
from frm_mlflow.records import BenchmarkRecord

DATA = Path(__file__).parents[2] / "data"


def imported(source: str, path: str, **options: object) -> Import:
    return read(source, DATA / path, SourceConfig(name=source, **options))


def single(source: str, path: str, **given: object) -> BenchmarkRecord:
    (record,) = imported(source, path, given=given).records
    return record


def metric(record: BenchmarkRecord, of: schema.Metric) -> float:
    return record.metrics[of.key]


def provenance(record: BenchmarkRecord) -> dict[str, object]:
    return dict(json.loads(record.tags[schema.PROVENANCE.key]))


# --- trtexec ---------------------------------------------------------------------------------


def test_trtexec_log_gives_the_hosts_median_and_the_gpus_and_names_what_ran() -> None:
    record = single("trtexec", "trtexec/resnet50_fp16.log")

    assert (record.model, record.configuration.device) == ("resnet50", "rtx_4090")
    assert record.configuration.runtime_version == "tensorrt 8.6.3"
    assert record.configuration.precision == "fp16"
    assert (record.configuration.tier, record.configuration.batch_size) == ("gpu", 1)
    assert metric(record, schema.LATENCY_P50) == 0.640625
    assert metric(record, schema.LATENCY_P99) == 0.706055
    assert metric(record, schema.LATENCY_DEVICE_P50) == 0.597504
    assert metric(record, schema.THROUGHPUT) == 1546.36
    assert record.tags[schema.LATENCY_STATISTIC.key] == "p50"
    assert "copies" in str(provenance(record)["latency"])


def test_trtexec_times_are_summed_up_and_percentiles_left_out_of_three_samples() -> None:
    record = single("trtexec", "trtexec/mobilenet_v2_times.json", model="mobilenet_v2", device="rtx_4090")

    assert metric(record, schema.LATENCY_P50) == 0.343
    assert metric(record, schema.LATENCY_MEAN) == pytest.approx((0.343 + 0.354 + 0.333) / 3)
    assert metric(record, schema.LATENCY_DEVICE_P50) == 0.300
    assert schema.LATENCY_P99.key not in record.metrics


def test_trtexec_profile_says_that_it_is_a_sum_of_layers() -> None:
    record = single("trtexec", "trtexec/mobilenet_v2_profile.json", model="{stem}", device="rtx_4090")

    assert record.model == "mobilenet_v2_profile"
    assert metric(record, schema.LATENCY_P50) == pytest.approx(0.05)
    assert record.tags[schema.LATENCY_STATISTIC.key] == "layers_sum"


def test_a_folder_of_logs_is_one_import_and_what_failed_is_counted() -> None:
    found = imported("trtexec", "trtexec", given={"model": "{stem}", "device": "rtx_4090", "precision": "fp16"})

    assert {r.model for r in found.records} == {"resnet50_fp16", "mobilenet_v2_times", "mobilenet_v2_profile"}
    assert found.reasons == {"trtexec reports FAILED": 1}


def test_a_log_cut_off_before_its_summary_is_an_error_that_names_it(tmp_path: Path) -> None:
    text = (DATA / "trtexec/resnet50_fp16.log").read_text()
    (tmp_path / "cut.log").write_text(text[: text.index("=== Performance summary")])

    with pytest.raises(ImportFileError, match=r"cut\.log.*Latency"):
        read("trtexec", tmp_path / "cut.log")


def test_what_a_file_does_not_say_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"source\.given\.model"):
        single("trtexec", "trtexec/mobilenet_v2_times.json")
    with pytest.raises(ConfigError, match="colour"):
        single("trtexec", "trtexec/resnet50_fp16.log", colour="red")


# --- onnxruntime_perf_test ---------------------------------------------------------------------


def test_perf_test_prints_seconds_and_bytes() -> None:
    record = single(
        "onnxruntime_perf_test", "onnxruntime_perf_test/mobilenet_v2.txt", model="{stem}", device="i7_12700h"
    )

    assert record.model == "mobilenet_v2"
    assert metric(record, schema.LATENCY_P50) == pytest.approx(8.04512)
    assert metric(record, schema.LATENCY_MEAN) == 8.12034
    assert metric(record, schema.MEMORY_PEAK) == pytest.approx(66793472 / 1048576)
    assert record.tags[schema.MEMORY_DEFINITION.key] == "process_peak"


def test_perf_test_in_its_older_wording() -> None:
    record = single(
        "onnxruntime_perf_test", "onnxruntime_perf_test/resnet50_old.txt", model="resnet50", device="x", tier="cpu"
    )

    assert metric(record, schema.LATENCY_P50) == pytest.approx(58.7108)
    assert metric(record, schema.LATENCY_SAMPLES) == 1000
    assert schema.MEMORY_PEAK.key not in record.metrics


def test_perf_tests_result_file_holds_one_line_a_run() -> None:
    record = single("onnxruntime_perf_test", "onnxruntime_perf_test/result.csv", device="x", tier="cpu")

    assert record.model == "resnet18"
    assert metric(record, schema.LATENCY_P50) == pytest.approx(20.1)
    assert metric(record, schema.MEMORY_PEAK) == 58.0


# --- benchmark_model ---------------------------------------------------------------------------


def test_benchmark_model_prints_microseconds_and_its_second_count_line_is_the_measurement() -> None:
    record = single("benchmark_model", "benchmark_model/mobilenet_v2.txt", device="Google Pixel 7", precision="fp32")

    assert record.model == "mobilenet_v2"
    assert (record.configuration.tier, record.configuration.compute_unit) == ("edge", "cpu")
    assert metric(record, schema.LATENCY_P50) == 12.931
    assert metric(record, schema.LATENCY_MEAN) == 12.9743
    assert metric(record, schema.LATENCY_SAMPLES) == 78
    assert metric(record, schema.MEMORY_PEAK) == 28.3125
    assert schema.LATENCY_P95.key not in record.metrics, "78 samples are too few"


def test_benchmark_model_of_old_knows_no_median_and_says_so() -> None:
    record = single("benchmark_model", "benchmark_model/resnet50_old.txt", device="Google Pixel 2")

    assert metric(record, schema.LATENCY_P50) == 340.034
    assert record.tags[schema.LATENCY_STATISTIC.key] == "mean"
    assert metric(record, schema.MEMORY_PEAK) == 138.809


def test_a_profile_is_the_sum_of_the_regular_runs_and_says_so() -> None:
    record = single(
        "benchmark_model", "benchmark_model/resnet18_profile.csv", model="resnet18", device="Google Pixel 2"
    )

    assert metric(record, schema.LATENCY_P50) == pytest.approx(20.0142)
    assert record.tags[schema.LATENCY_STATISTIC.key] == "profiled_mean"


def test_a_run_that_fell_back_to_the_cpu_is_a_cpu_run(tmp_path: Path) -> None:
    text = (DATA / "benchmark_model/mobilenet_v2.txt").read_text()
    fallen = text.replace(
        "64 out of 66 node(s) with delegate (TfLiteXNNPackDelegate)",
        "10 out of 66 node(s) with delegate (TfLiteGpuDelegateV2)",
    )
    (tmp_path / "log.txt").write_text(fallen)

    (record,) = read(
        "benchmark_model",
        tmp_path / "log.txt",
        SourceConfig(name="benchmark_model", given={"device": "Google Pixel 7"}),
    ).records

    assert record.configuration.compute_unit == "cpu"
    assert record.tags[schema.LAYERS.key] == "gpu=10 cpu=56"


# --- optimum-benchmark ---------------------------------------------------------------------------


def test_optimum_benchmark_counts_in_seconds_and_millions_of_bytes() -> None:
    report = json.loads((DATA / "optimum-benchmark/benchmark_report.json").read_text())["forward"]

    record = single("optimum-benchmark", "optimum-benchmark")

    assert (record.model, record.configuration.runtime, record.configuration.precision) == (
        "mobilenet_v2",
        "torch",
        "fp32",
    )
    assert metric(record, schema.LATENCY_P50) == pytest.approx(report["latency"]["p50"] * 1000)
    assert metric(record, schema.MEMORY_PEAK) == pytest.approx(report["memory"]["max_ram"] * 1e6 / 1048576)
    assert metric(record, schema.LATENCY_SAMPLES) == 70
    assert record.tags[schema.INPUT_SIZE.key] == "224"
    assert record.configuration.batch_size == 1


def test_optimum_benchmark_in_one_file_is_the_same(tmp_path: Path) -> None:
    parts = {
        part: json.loads((DATA / f"optimum-benchmark/benchmark_{part}.json").read_text())
        for part in ("config", "report")
    }
    (tmp_path / "benchmark.json").write_text(json.dumps(parts))

    (record,) = read("optimum-benchmark", tmp_path).records

    assert record.metrics == single("optimum-benchmark", "optimum-benchmark").metrics


def test_generated_text_has_no_latency_of_one_inference(tmp_path: Path) -> None:
    (tmp_path / "benchmark_report.json").write_text(json.dumps({"prefill": {}, "decode": {}}))

    found = read("optimum-benchmark", tmp_path)

    assert found.records == ()
    assert found.reasons == {"no forward pass in the report, but prefill, decode": 1}


# --- mlperf ----------------------------------------------------------------------------------------


def loadgen(folder: str) -> Import:
    given = {"model": "resnet50", "device": "rtx_4090", "runtime": "tensorrt", "precision": "int8"}
    return imported("mlperf", f"mlperf/{folder}", given=given)


def summary_line(folder: str, name: str) -> float:
    lines = (DATA / f"mlperf/{folder}/mlperf_log_summary.txt").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(":")[2])


def test_loadgens_percentiles_keep_their_meaning() -> None:
    (record,) = loadgen("single_stream").records

    assert metric(record, schema.LATENCY_P50) == pytest.approx(summary_line("single_stream", "50.00 percentile") / 1e6)
    assert metric(record, schema.LATENCY_P90) == pytest.approx(summary_line("single_stream", "90.00 percentile") / 1e6)
    official = summary_line("single_stream", "90.0th percentile latency")
    assert provenance(record)["90.0th percentile latency ms"] == pytest.approx(official / 1e6)
    assert provenance(record)["early_stopping_estimate_ms"] > provenance(record)["90.0th percentile latency ms"]
    assert record.configuration.runtime_version == "loadgen 6.0.17"


def test_a_multi_stream_query_is_a_batch() -> None:
    (record,) = loadgen("multi_stream").records

    assert record.configuration.batch_size == 8


def test_latency_in_a_queue_is_not_taken_for_latency() -> None:
    for folder in ("offline", "server"):
        (record,) = loadgen(folder).records
        assert schema.LATENCY_P50.key not in record.metrics
        assert metric(record, schema.THROUGHPUT) > 0


def test_invalid_and_accuracy_runs_are_left_out_with_the_reason() -> None:
    assert loadgen("invalid").reasons == {"LoadGen's result is INVALID": 1}
    assert loadgen("accuracy").reasons == {"no performance results: an accuracy run": 1}


# --- timm ------------------------------------------------------------------------------------------


def test_timms_file_name_says_where_it_ran_and_batches_stay_apart() -> None:
    found = imported("timm", "timm")
    by_device = {(r.model, r.configuration.device, r.configuration.resolution): r for r in found.records}
    gpu, cpu = by_device["resnet50", "rtx_4090", "native"], by_device["resnet50", "i7_12700h", "native"]

    assert (gpu.configuration.batch_size, cpu.configuration.batch_size) == (512, 1)
    assert (gpu.configuration.precision, cpu.configuration.precision) == ("amp", "fp32")
    assert (gpu.configuration.runtime, cpu.configuration.runtime) == ("torch", "torch_compile")
    assert gpu.configuration.runtime_version == "torch 2.4.0 cuda 12.4 nhwc"
    assert cpu.configuration.runtime_version == "torch 2.4.0 nchw"
    assert (gpu.configuration.tier, cpu.configuration.tier) == ("gpu", "cpu")
    assert metric(gpu, schema.LATENCY_P50) == 100.61
    assert gpu.tags[schema.LATENCY_STATISTIC.key] == "mean"
    assert metric(gpu, schema.GMACS) == 4.11
    assert gpu.tags[schema.FLOPS_SOURCE.key] == "imported:timm"


def test_another_input_size_is_another_configuration_without_borrowed_accuracy() -> None:
    found = imported("timm", "timm", accuracy=str(DATA / "timm/results-imagenet.csv"))
    small = next(r for r in found.records if r.configuration.resolution == "176")
    native = next(r for r in found.records if (r.model, r.configuration.resolution) == ("resnet50", "native"))

    assert schema.TOP1.key not in small.metrics
    assert metric(small, schema.GMACS) == 2.62
    assert metric(native, schema.TOP1) == 77.58, "the best weights at this size"
    assert native.tags[schema.ACCURACY_SOURCE.key] == "timm results: resnet50.gluon_in1k at 224"


def test_timms_names_are_the_catalogues() -> None:
    models = {r.model for r in imported("timm", "timm").records}

    assert {"mobilenet_v2", "mnasnet1_0", "deit_tiny", "mobilevit_xxs", "levit_128s", "mobilenet_v3_small"} <= models


def test_training_times_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv").write_text(
        "model,train_samples_per_sec\nresnet50,1\n"
    )

    assert read("timm", tmp_path).reasons == {"times of training, not of inference": 1}


def test_a_profile_with_a_figure_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    text = (DATA / "benchmark_model/resnet18_profile.csv").read_text()
    (tmp_path / "p.csv").write_text(re.sub(r"avg=[\d.]+", "avg=2.5.1", text))

    with pytest.raises(ImportFileError, match=r"p\.csv.*2\.5\.1"):
        read(
            "benchmark_model",
            tmp_path / "p.csv",
            SourceConfig(name="benchmark_model", given={"model": "a", "device": "pi"}),
        )
