"""AI Hub's two layouts and their pitfalls, each with a hand-made file."""

import json
import zipfile
from pathlib import Path

import pytest
import yaml

from frm_mlflow import frame, schema
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import usable_rows
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ImportFileError
from frm_mlflow.importers import Import, read
from frm_mlflow.records import BenchmarkRecord

MANIFEST = {
    "use_case": "Image Classification",
    "technical_details": {"Input resolution": "224x224", "Number of parameters": "11.7M"},
    "numerics_benchmark": {"metric_name": "Top-1 Accuracy", "value": 69.8, "source": "https://example.org/table"},
}
JOB = {
    "job_id": "j1",
    "job_status": "Passed",
    "inference_time_milliseconds": 1.5,
    "estimated_peak_memory_range_mb": {"min": 0, "max": 20},
    "primary_compute_unit": "NPU",
    "layer_counts": {"npu": 53, "total": 53},
    "tool_versions": {"qairt": "2.50.0", "onnx_runtime": "1.30.0"},
}
OLDER_JOB = {
    "job_id": "j2",
    "job_status": "Passed",
    "inference_time": 1500.0,
    "throughput": 666.7,
    "estimated_peak_memory_range": {"min": 0, "max": 20971520},
    "primary_compute_unit": "NPU",
    "precision": "fp16",
    "layer_info": {"layers_on_npu": 53, "layers_on_gpu": 0, "layers_on_cpu": 0, "total_layers": 53},
}
DEVICES = {
    "chipsets": {
        "qualcomm-snapdragon-8-elite-for-galaxy": {"reference_device": "Samsung Galaxy S25"},
        "qualcomm-qcs8750": {"reference_device": "Dragonwing Q-8750"},
    },
    "devices": {
        "Samsung Galaxy S25": {"chipset": "qualcomm-snapdragon-8-elite-for-galaxy"},
        "Dragonwing Q-8750": {
            "chipset": "qualcomm-qcs8750",
            "reference_chipset": "qualcomm-snapdragon-8-elite-for-galaxy",
        },
    },
}


def current(*jobs: tuple[str, dict[str, object]], precision: str = "float", runtime: str = "onnx") -> dict[str, object]:
    metrics = {device: {runtime: job} for device, job in jobs}
    return {"precisions": {precision: {"components": {"ResNet18": {"performance_metrics": metrics}}}}}


def older(job: dict[str, object], *, path: str = "torchscript_onnx_tflite") -> dict[str, object]:
    device = {"name": "Samsung Galaxy S23", "os": "13", "form_factor": "Phone", "chipset": "Snapdragon® 8 Gen 2"}
    group = {path: job, "reference_device_info": device, "timestamp": "2024-10-26T23:26:49Z"}
    return {"aggregated": {}, "models": [{"name": "ResNet18", "performance_metrics": [group]}]}


def deepcopied(content: object) -> object:
    """Return a copy without shared objects, which YAML would write as aliases."""
    return json.loads(json.dumps(content))


def package(root: Path, perf: object, *, name: str = "resnet18", version: str = "0.65.0", **documents: object) -> Path:
    folder = root / "qai_hub_models" / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    for document, content in {"perf": perf, "manifest": MANIFEST, **documents}.items():
        (folder / f"{document}.yaml").write_text(
            content if isinstance(content, str) else yaml.safe_dump(deepcopied(content))
        )
    (root / "qai_hub_models" / "_version.py").write_text(f'__version__ = "{version}"\n')
    (root / "qai_hub_models" / "devices_and_chipsets.yaml").write_text(yaml.safe_dump(DEVICES))
    return root


def ingest(root: Path, **options: object) -> Import:
    return read("aihub", root, SourceConfig(name="aihub", **options))


def one(root: Path) -> BenchmarkRecord:
    (record,) = ingest(root).records
    return record


def test_both_layouts_mean_the_same_in_ms_and_mib(tmp_path: Path) -> None:
    new = one(package(tmp_path / "new", current(("Samsung Galaxy S25", JOB))))
    old = one(package(tmp_path / "old", older(OLDER_JOB), version="0.17.0"))

    for key, value in ((schema.LATENCY_P50.key, 1.5), (schema.MEMORY_PEAK.key, 20.0)):
        assert new.metrics[key] == old.metrics[key] == value
    assert (new.configuration.precision, old.configuration.precision) == ("fp16", "fp16")
    assert (new.configuration.runtime, old.configuration.runtime) == ("onnxruntime", "litert")
    assert (new.configuration.chip, old.configuration.chip) == ("Snapdragon 8 Elite for Galaxy", "Snapdragon 8 Gen 2")
    assert new.tags[schema.LATENCY_STATISTIC.key] == "min"
    assert new.tags[schema.MEMORY_DEFINITION.key] == "range_max"


def test_versions_are_part_of_the_configuration_and_an_old_release_stands_in_for_unknown_ones(tmp_path: Path) -> None:
    new = one(package(tmp_path / "new", current(("Samsung Galaxy S25", JOB))))
    old = one(package(tmp_path / "old", older(OLDER_JOB), version="0.17.0"))

    assert new.configuration.runtime_version == "onnx_runtime 1.30.0 qairt 2.50.0"
    assert old.configuration.runtime_version == "qai_hub_models 0.17.0"
    assert old.start_time.isoformat() == "2024-10-26T23:26:49+00:00"


def test_one_job_under_two_names_keeps_both_and_is_linked(tmp_path: Path) -> None:
    found = ingest(package(tmp_path, current(("Samsung Galaxy S25", JOB), ("Dragonwing Q-8750", JOB))))
    by_device = {record.configuration.device: record for record in found.records}

    assert found.republished == 1
    assert by_device["Dragonwing Q-8750"].tags[schema.MEASURED_ON.key] == "Samsung Galaxy S25"
    assert schema.MEASURED_ON.key not in by_device["Samsung Galaxy S25"].tags
    assert by_device["Dragonwing Q-8750"].configuration.chip == "QCS8750"
    assert len({record.tags[schema.JOB_ID.key] for record in found.records}) == 1
    assert len({record.record_id for record in found.records}) == 2


@pytest.mark.parametrize(
    ("layers", "unit", "precision"),
    [
        ({"cpu": 220, "gpu": 10, "npu": 164}, "cpu", "fp32"),
        ({"npu": 164, "cpu": 1}, "npu", "fp16"),
        ({"gpu": 328}, "gpu", "fp16"),
        ({"cpu": 40, "gpu": 30, "npu": 30}, "mixed", "float"),
    ],
)
def test_the_compute_unit_is_where_most_layers_ran(
    tmp_path: Path, layers: dict[str, int], unit: str, precision: str
) -> None:
    job = JOB | {"layer_counts": layers | {"total": sum(layers.values())}}

    record = one(package(tmp_path, current(("Samsung Galaxy S25", job))))

    assert (record.configuration.compute_unit, record.configuration.precision) == (unit, precision)
    assert dict(part.split("=") for part in record.tags[schema.LAYERS.key].split()) == {
        k: str(v) for k, v in layers.items()
    }


@pytest.mark.parametrize("missing", [None, "N/A", "null", "", "nan", float("nan"), 0])
def test_a_figure_that_was_not_measured_is_missing_never_zero(tmp_path: Path, missing: object) -> None:
    no_memory = JOB | {"estimated_peak_memory_range_mb": {"min": 0, "max": missing}}
    no_latency = JOB | {"inference_time_milliseconds": missing}

    record = one(package(tmp_path / "memory", current(("Samsung Galaxy S25", no_memory))))
    found = ingest(package(tmp_path / "latency", current(("Samsung Galaxy S25", no_latency))))

    assert schema.MEMORY_PEAK.key not in record.metrics
    assert schema.MEMORY_DEFINITION.key not in record.tags
    assert found.records == ()
    assert found.reasons == {"passed without a latency": 1}


@pytest.mark.parametrize("status", ["Failed", "Skipped", None])
def test_failed_jobs_are_left_out_and_counted(tmp_path: Path, status: str | None) -> None:
    failed = {"job_id": "j3", "job_status": status}

    found = ingest(package(tmp_path, current(("Samsung Galaxy S25", JOB), ("Samsung Galaxy S24", failed))))

    assert len(found.records) == 1
    (left,) = found.left_out
    assert left.reason == f"job {(status or 'without a status').lower()}"
    assert (left.file, left.row) == ("models/resnet18/perf.yaml", "float/ResNet18/Samsung Galaxy S24/onnx")


def test_a_language_model_has_no_latency_of_one_inference(tmp_path: Path) -> None:
    text = {"llm_metrics": [{"context_length": 4096, "tokens_per_second": 9.6}]}

    assert "tokens a second" in next(iter(ingest(package(tmp_path, current(("Samsung Galaxy S25", text)))).reasons))


def test_the_older_layouts_w8a16_folder_calls_itself_int8(tmp_path: Path) -> None:
    job = OLDER_JOB | {"precision": "int8"}

    record = one(package(tmp_path / "a", older(job), name="resnet18_w8a16_quantized"))
    plain = one(package(tmp_path / "b", older(job), name="resnet18_quantized"))

    assert (record.model, record.configuration.precision) == ("resnet18", "w8a16")
    assert (plain.model, plain.configuration.precision) == ("resnet18", "int8")


def test_w8a8_is_int8_in_both_layouts(tmp_path: Path) -> None:
    assert (
        one(package(tmp_path, current(("Samsung Galaxy S25", JOB), precision="w8a8"))).configuration.precision == "int8"
    )


def add_source(root: Path, name: str, text: str) -> None:
    file = root / "qai_hub_models" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_input_size_is_that_of_the_releases_own_source(tmp_path: Path) -> None:
    root = package(tmp_path, current(("Samsung Galaxy S25", JOB)), name="inception_v3")
    source = "DIM = 299\n\nclass Net:\n    def get_input_spec(self):\n        return {'image': (1, 3, DIM, DIM)}\n"
    add_source(root, "models/inception_v3/model.py", source)

    record = one(root)

    assert record.tags[schema.INPUT_SIZE.key] == "299"
    assert record.configuration.resolution == "native"
    assert record.metrics[schema.GMACS.key] == 5.713


def test_an_older_release_that_used_the_shared_size_has_that_size(tmp_path: Path) -> None:
    manifest = MANIFEST | {"technical_details": {"Input resolution": "299x299"}}
    root = package(tmp_path, older(OLDER_JOB), name="inception_v3", version="0.21.0", manifest=manifest)
    shared = "from qai_hub_models.utils.other import X\nfrom qai_hub_models.utils.image import (\n    DIM,\n    X,\n)\n"
    shared += "def get_input_spec(batch_size: int = 1):\n    return {'image': ((batch_size, 3, DIM, DIM), 'float32')}\n"
    add_source(root, "models/_shared/imagenet_classifier/model.py", shared)
    add_source(root, "models/inception_v3/model.py", "class Net(ImagenetClassifier):\n    pass\n")
    add_source(root, "utils/image.py", "DIM = 224\n")

    record = one(root)

    assert record.tags[schema.INPUT_SIZE.key] == "224"
    assert record.configuration.resolution == "224"
    assert schema.GMACS.key not in record.metrics, "the published count is that of 299 pixels"


def test_a_class_constant_sets_the_input_size(tmp_path: Path) -> None:
    root = package(tmp_path, current(("Samsung Galaxy S25", JOB)))
    add_source(root, "models/resnet18/model.py", "class Net(ImagenetClassifier):\n    INPUT_DIM: ClassVar[int] = 256\n")

    assert one(root).tags[schema.INPUT_SIZE.key] == "256"


def test_a_file_per_precision_beside_the_first_is_read(tmp_path: Path) -> None:
    root = package(tmp_path, older(OLDER_JOB), perf_w8a16=older(OLDER_JOB | {"precision": "int8"}))

    assert {record.configuration.precision for record in ingest(root).records} == {"fp16", "w8a16"}


def test_a_model_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    package(tmp_path, current(("Samsung Galaxy S25", JOB)))
    package(tmp_path, "precisions: [1, 2\n", name="broken")
    bad = JOB | {"inference_time_milliseconds": "fast"}
    package(tmp_path, current(("Samsung Galaxy S25", JOB), ("Samsung Galaxy S24", bad)), name="half")

    found = ingest(tmp_path)

    assert [record.model for record in found.records] == ["half", "resnet18"]
    assert [(item.file, item.row) for item in found.left_out] == [
        ("models/broken/perf.yaml", "2"),
        ("models/half/perf.yaml", "float/ResNet18/Samsung Galaxy S24/onnx"),
    ]


def test_a_reproducibly_built_wheel_has_no_dates_from_1980(tmp_path: Path) -> None:
    package(tmp_path / "tree", current(("Samsung Galaxy S25", JOB)))
    wheel = tmp_path / "qai_hub_models-0.65.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in sorted((tmp_path / "tree").rglob("*.*")):
            archive.writestr(zipfile.ZipInfo(file.relative_to(tmp_path / "tree").as_posix()), file.read_bytes())

    assert one(wheel).start_time.year > 2000


def test_facts_of_the_source_come_first_and_the_catalogue_fills_what_is_missing(tmp_path: Path) -> None:
    said = one(package(tmp_path / "a", current(("Samsung Galaxy S25", JOB))))
    silent = one(
        package(tmp_path / "b", current(("Samsung Galaxy S25", JOB)), manifest={"use_case": "Image Classification"})
    )

    assert said.metrics[schema.TOP1.key] == 69.8
    assert said.tags[schema.ACCURACY_SOURCE.key] == "published: https://example.org/table"
    assert said.metrics[schema.PARAMS_M.key] == 11.7
    assert said.metrics[schema.GMACS.key] == 1.814
    assert said.tags[schema.FLOPS_SOURCE.key] == "catalogue"
    assert silent.metrics[schema.TOP1.key] == 69.758
    assert silent.tags[schema.ACCURACY_SOURCE.key].startswith("catalogue: torchvision")


def test_accuracy_on_the_device_is_that_of_its_runtime_and_precision(tmp_path: Path) -> None:
    measured = {"Samsung Galaxy S25": {"float": {"onnx": {"partial_metric": 65.1}, "tflite": {"partial_metric": 69.0}}}}
    numerics = {"metrics": [{"metric_name": "Top-1 Accuracy", "device_metric": measured}]}

    record = one(package(tmp_path, current(("Samsung Galaxy S24", JOB)), numerics=numerics))

    assert record.metrics[schema.TOP1_DEVICE.key] == 65.1
    assert record.metrics[schema.TOP1.key] == 69.8


def test_an_import_is_never_passed_off_as_measured_and_names_its_row(tmp_path: Path) -> None:
    record = one(package(tmp_path, current(("Samsung Galaxy S25", JOB))))
    provenance = json.loads(record.tags[schema.PROVENANCE.key])

    assert record.source == "imported:aihub"
    assert (provenance["file"], provenance["row"]) == (
        "models/resnet18/perf.yaml",
        "float/ResNet18/Samsung Galaxy S25/onnx",
    )
    assert provenance["version"] == record.tags[schema.SOURCE_VERSION.key] == "0.65.0"
    assert provenance["precision"] == "float"


def test_the_same_release_is_the_same_import_and_a_newer_one_supersedes_it(tmp_path: Path) -> None:
    first = one(package(tmp_path / "a", older(OLDER_JOB), version="0.17.0"))
    again = one(package(tmp_path / "b", older(OLDER_JOB), version="0.17.0"))
    faster = OLDER_JOB | {"inference_time": 1200.0}
    newer_perf = older(faster)
    newer_perf["models"][0]["performance_metrics"][0]["timestamp"] = "2025-03-11T06:52:43Z"  # type: ignore[index]
    newer = one(package(tmp_path / "c", newer_perf, version="0.25.5"))

    both = frame.from_records([newer, first])
    kept, left_out = usable_rows(both, AnalysisOptions())

    assert first.record_id == again.record_id != newer.record_id
    assert [(item.reason, item.rows) for item in left_out] == [("superseded by a newer version of its source", 1)]
    assert kept["source_version"].tolist() == ["0.25.5"]
    assert len(both) == 2


def test_a_wheel_is_read_without_unpacking_it(tmp_path: Path) -> None:
    root = package(tmp_path / "tree", current(("Samsung Galaxy S25", JOB)))
    wheel = tmp_path / "qai_hub_models-0.65.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in root.rglob("*"):
            archive.write(file, file.relative_to(root))
    before = sorted(tmp_path.iterdir())

    assert one(wheel).record_id == one(root).record_id
    assert sorted(tmp_path.iterdir()) == before


def test_your_own_names_are_mapped_and_unknown_ones_are_kept_and_listed(tmp_path: Path) -> None:
    root = package(tmp_path, current(("Samsung Galaxy S99", JOB)), name="my_net")

    found = ingest(root)
    mapped = ingest(root, models={"my_net": "resnet18"}, devices={"Samsung Galaxy S99": "Samsung Galaxy S25"})

    assert found.records[0].model == "my_net"
    assert found.unknown_models == {"my_net": 1}
    assert found.unknown_devices == {"Samsung Galaxy S99": 1}
    assert (mapped.records[0].model, mapped.records[0].configuration.device) == ("resnet18", "Samsung Galaxy S25")
    assert mapped.unknown_models == mapped.unknown_devices == {}


@pytest.mark.parametrize(
    ("perf", "match"),
    [
        ("precisions: [1, 2\n", r"perf\.yaml, row"),
        ("- a list\n", "no mapping"),
        ("something: else\n", "layout"),
        ("precisions: {float: {components: {A: {performance_metrics: {D: {onnx: fast}}}}}}", "expected a mapping"),
        ("precisions: &a {float: *a}", "aliases"),
        ("precisions: !!python/object/apply:os.system ['true']", "plain values"),
        ("precisions: " + "[" * 5000, r"perf\.yaml"),
    ],
)
def test_broken_and_hostile_files_end_with_their_name(tmp_path: Path, perf: str, match: str) -> None:
    with pytest.raises(ImportFileError, match=match):
        ingest(package(tmp_path, perf))


def test_a_latency_that_is_a_word_names_file_and_row(tmp_path: Path) -> None:
    job = JOB | {"inference_time_milliseconds": "fast"}

    with pytest.raises(
        ImportFileError, match=r"resnet18/perf\.yaml, row float/ResNet18/Samsung Galaxy S25/onnx: .*'fast'"
    ):
        ingest(package(tmp_path, current(("Samsung Galaxy S25", job))))


def test_a_folder_that_is_something_else_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")

    with pytest.raises(ImportFileError, match="qai_hub_models wheel or source checkout"):
        ingest(tmp_path)


def test_a_name_of_a_million_characters_is_left_out(tmp_path: Path) -> None:
    root = package(tmp_path, older(OLDER_JOB | {"precision": "f" * 10**6}))

    found = ingest(root)

    assert found.records == ()
    assert found.left_out[0].reason.startswith("precision is longer than 500 characters")
