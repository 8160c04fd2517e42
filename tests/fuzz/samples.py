"""Inputs for mutation: one valid input per importer and format, each a small file tree in which one file is changed."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

DATA = Path(__file__).parents[1] / "data"
AIHUB_PERF = """precisions:
  float:
    components:
      ResNet18:
        performance_metrics:
          Samsung Galaxy S25:
            onnx: {job_id: j1, job_status: Passed, inference_time_milliseconds: 1.5, primary_compute_unit: NPU,
              estimated_peak_memory_range_mb: {min: 0, max: 20}, layer_counts: {npu: 53, total: 53},
              tool_versions: {qairt: 2.50.0}}
"""
AIHUB_OLD = """aggregated: {}
models:
- name: ResNet18
  performance_metrics:
  - torchscript_onnx_tflite: {job_id: j2, job_status: Passed, inference_time: 1500.0, precision: fp16,
      estimated_peak_memory_range: {min: 0, max: 20971520}, primary_compute_unit: NPU,
      layer_info: {layers_on_npu: 53, layers_on_gpu: 0, layers_on_cpu: 0}}
    reference_device_info: {name: Samsung Galaxy S23, chipset: Snapdragon 8 Gen 2}
    timestamp: '2024-10-26T23:26:49Z'
"""
AIHUB_MANIFEST = """use_case: Image Classification
technical_details: {Input resolution: 224x224, Number of parameters: 11.7M}
numerics_benchmark: {metric_name: Top-1 Accuracy, value: 69.8, source: table}
"""
AIHUB_DEVICES = """chipsets: {c: {reference_device: Samsung Galaxy S25}}
devices:
  Samsung Galaxy S25: {chipset: c}
"""
TABLE = "model,device,tier,latency_ms,memory_mib,top1,batch_size,date\nresnet18,box,cpu,12.5,60,69.8,1,2026-01-31\n"
EUROPEAN = "# bench\nModel;Device;Tier;Latency (us);FPS\nresnet18;box;cpu;12.500,5;80,1\nmobilenet_v2;pi;edge;3,5;\n"


@dataclass(frozen=True, slots=True)
class Sample:
    """A source, the file in its tree that is mutated, and the other files unchanged."""

    source: str
    name: str
    content: bytes
    beside: dict[str, bytes] = field(default_factory=dict)
    as_folder: bool = False
    """Whether to import the folder instead of only the file."""


def _of(source: str, file: str, *, beside: tuple[str, ...] = (), as_folder: bool = False) -> Sample:
    others = {Path(name).name: (DATA / name).read_bytes() for name in beside}
    return Sample(source, Path(file).name, (DATA / file).read_bytes(), others, as_folder)


def _aihub(name: str, **files: str) -> Sample:
    tree = {
        "models/resnet18/perf.yaml": files.get("perf", AIHUB_PERF),
        "models/resnet18/manifest.yaml": AIHUB_MANIFEST,
        "models/resnet18/numerics.yaml": "metrics:\n- {metric_name: Top-1 Accuracy, device_metric: {}}\n",
        "models/resnet18/model.py": "class Net(ImagenetClassifier):\n    INPUT_DIM: int = 224\n",
        "devices_and_chipsets.yaml": AIHUB_DEVICES,
        "_version.py": '__version__ = "0.65.0"\n',
    }
    content = tree.pop(name).encode()
    return Sample("aihub", name, content, {key: text.encode() for key, text in tree.items()}, as_folder=True)


def _wheel() -> Sample:
    import zipfile

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("q/models/resnet18/perf.yaml", AIHUB_PERF)
        archive.writestr("q/models/resnet18/manifest.yaml", AIHUB_MANIFEST)
    return Sample("aihub", "qai_hub_models-0.65.0-py3-none-any.whl", target.getvalue())


def _parquet() -> Sample:
    target = io.BytesIO()
    frame = pd.DataFrame({"model": ["resnet18", "x"], "device": "box", "tier": "cpu", "latency_ms": [12.5, 3.0]})
    frame.to_parquet(target)
    return Sample("parquet", "table.parquet", target.getvalue())


def samples() -> list[Sample]:
    """Return every sample, at least one per importer."""
    return [
        _of("trtexec", "trtexec/resnet50_fp16.log"),
        _of("trtexec", "trtexec/mobilenet_v2_times.json"),
        _of("trtexec", "trtexec/mobilenet_v2_profile.json", beside=("trtexec/resnet50_fp16.log",), as_folder=True),
        _of("onnxruntime_perf_test", "onnxruntime_perf_test/mobilenet_v2.txt"),
        _of("onnxruntime_perf_test", "onnxruntime_perf_test/resnet50_old.txt"),
        _of("onnxruntime_perf_test", "onnxruntime_perf_test/result.csv"),
        _of("benchmark_model", "benchmark_model/mobilenet_v2.txt"),
        _of("benchmark_model", "benchmark_model/resnet50_old.txt"),
        _of("benchmark_model", "benchmark_model/resnet18_profile.csv"),
        _of(
            "optimum-benchmark",
            "optimum-benchmark/benchmark_report.json",
            beside=("optimum-benchmark/benchmark_config.json",),
        ),
        _of(
            "optimum-benchmark",
            "optimum-benchmark/benchmark_config.json",
            beside=("optimum-benchmark/benchmark_report.json",),
            as_folder=True,
        ),
        _of("mlperf", "mlperf/single_stream/mlperf_log_summary.txt"),
        _of("mlperf", "mlperf/multi_stream/mlperf_log_summary.txt"),
        _of("mlperf", "mlperf/server/mlperf_log_summary.txt"),
        _of(
            "mlperf",
            "mlperf/single_stream/mlperf_log_detail.txt",
            beside=("mlperf/single_stream/mlperf_log_summary.txt",),
            as_folder=True,
        ),
        _of("timm", "timm/benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv"),
        Sample("csv", "table.csv", TABLE.encode()),
        Sample("csv", "european.csv", EUROPEAN.encode()),
        _parquet(),
        _aihub("models/resnet18/perf.yaml"),
        _aihub("models/resnet18/perf.yaml", perf=AIHUB_OLD),
        _aihub("models/resnet18/manifest.yaml"),
        _aihub("models/resnet18/numerics.yaml"),
        _aihub("models/resnet18/model.py"),
        _aihub("devices_and_chipsets.yaml"),
        _aihub("_version.py"),
        _wheel(),
    ]
