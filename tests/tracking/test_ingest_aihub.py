"""AI Hub's published wheel: our counts against an independent count straight from its YAML."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ImportFileError
from frm_mlflow.importers import Import, fetch, read
from frm_mlflow.runners.ingest import ingest
from frm_mlflow.sweep.compose import composed
from frm_mlflow.tracking import query, server

RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
"""The two AI Hub runtimes that have another name here."""
CLASSIFIER_ROWS, CLASSIFIERS, ALL_ROWS = 3896, 45, 19310
"""Passed rows in qai_hub_models 0.65.0, as the issue counts them."""


@dataclass(frozen=True)
class Passed:
    """One passed job, read independently of the importer."""

    model: str
    use_case: str
    precision: str
    component: str
    device: str
    runtime: str
    job: str


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, downloaded like `frm-mlflow ingest` does."""
    try:
        return fetch.wheel("qai_hub_models", fetch.PINNED["qai_hub_models"], cache=tmp_path_factory.mktemp("wheel"))
    except ImportFileError as error:
        pytest.skip(f"no package registry here: {error}")


@pytest.fixture(scope="session")
def passed(wheel: Path) -> list[Passed]:
    """Every passed job of the wheel, straight from the YAML."""
    return list(_passed(wheel))


def _passed(wheel: Path) -> Iterator[Passed]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.startswith("qai_hub_models/models/") or not name.endswith("/perf.yaml"):
                continue
            perf = yaml.load(archive.read(name), yaml.CSafeLoader)
            manifest = yaml.load(archive.read(name.replace("perf", "manifest")), yaml.CSafeLoader)
            for precision, parts in perf["precisions"].items():
                for component, part in parts["components"].items():
                    for device, runtimes in part.get("performance_metrics", {}).items():
                        for runtime, job in runtimes.items():
                            if job.get("job_status") == "Passed":
                                names = (precision, component, device, runtime, job["job_id"])
                                yield Passed(name.split("/")[2], manifest["use_case"], *names)


@pytest.fixture(scope="session")
def classifiers(wheel: Path) -> Import:
    return read("aihub", wheel)


def test_every_passed_row_of_every_classifier_is_there_and_nothing_else(
    classifiers: Import, passed: list[Passed]
) -> None:
    wanted = [row for row in passed if row.use_case == "Image Classification"]
    stated = [json.loads(record.tags[schema.PROVENANCE.key]) for record in classifiers.records]

    assert len(wanted) == len(stated) == CLASSIFIER_ROWS
    assert len({row.model for row in wanted}) == CLASSIFIERS
    assert {(said["file"], said["row"]) for said in stated} == {
        (f"models/{row.model}/perf.yaml", f"{row.precision}/{row.component}/{row.device}/{row.runtime}")
        for row in wanted
    }


def test_the_printed_counts_equal_the_independent_ones(classifiers: Import, passed: list[Passed]) -> None:
    wanted = [row for row in passed if row.use_case == "Image Classification"]
    counts = classifiers.counts()
    by_folder = Counter(json.loads(r.tags[schema.PROVENANCE.key])["file"].split("/")[1] for r in classifiers.records)

    assert counts["device"] == Counter(row.device for row in wanted)
    assert counts["runtime"] == Counter(RUNTIMES.get(row.runtime, row.runtime) for row in wanted)
    assert by_folder == Counter(row.model for row in wanted)
    # 46 networks of 45 models: SigLIP2 is an image and a text encoder.
    assert sorted(counts["model"].values(), reverse=True) == sorted(
        Counter((row.model, row.component) for row in wanted).values(), reverse=True
    )
    floats = sum(counts["precision"].get(name, 0) for name in ("fp16", "fp32", "float"))
    others = {name: n for name, n in counts["precision"].items() if name not in ("fp16", "fp32", "float")}
    expected = Counter({"w8a8": "int8"}.get(row.precision, row.precision) for row in wanted)
    assert floats == expected.pop("float")
    assert others == expected


def test_republished_jobs_are_a_quarter_and_linked_to_the_device_that_ran_them(
    classifiers: Import, passed: list[Passed]
) -> None:
    jobs = Counter(row.job for row in passed if row.use_case == "Image Classification")
    linked = {(r.configuration.device, r.tags.get(schema.MEASURED_ON.key)) for r in classifiers.records}

    assert classifiers.republished == sum(jobs.values()) - len(jobs)
    assert 0.25 < classifiers.republished / CLASSIFIER_ROWS < 0.27
    assert ("Dragonwing Q-8750", "Samsung Galaxy S25") in linked
    assert ("Samsung Galaxy S25", None) in linked


def test_everything_with_a_latency_is_taken_with_filter_all(wheel: Path, passed: list[Passed]) -> None:
    found = read("aihub", wheel, SourceConfig(name="aihub", filter="all"))

    assert len(found.records) == len(passed) == ALL_ROWS
    assert len({record.record_id for record in found.records}) == ALL_ROWS


def test_the_networks_of_the_paper_have_what_an_analysis_needs(classifiers: Import) -> None:
    rows = [record for record in classifiers.records if record.model in ("resnet50", "mobilenet_v2", "levit_128s")]

    assert {record.model for record in rows} == {"resnet50", "mobilenet_v2", "levit_128s"}
    for record in rows:
        assert {schema.LATENCY_P50.key, schema.GMACS.key, schema.TOP1.key, schema.PARAMS_M.key} <= set(record.metrics)
        assert record.tags[schema.GENERATION.key].startswith("hexagon-v")


@pytest.mark.parametrize("table", ["inception_v3", "nasnet", "efficientvit_l2_cls", "mobile_vit"])
def test_an_input_size_is_the_one_in_the_models_code(wheel: Path, classifiers: Import, table: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        code = archive.read(f"qai_hub_models/models/{table}/model.py").decode()

    record = next(each for each in classifiers.records if f"/{table}/" in each.tags[schema.PROVENANCE.key])
    assert f"_DIM = {record.tags[schema.INPUT_SIZE.key]}\n" in code


@pytest.mark.slow
def test_the_whole_import_is_logged_once(wheel: Path, mlflow_server: str, experiment: str) -> None:
    overrides = [f"path={wheel}", f"tracking.uri={mlflow_server}", f"tracking.experiment={experiment}"]

    for _ in range(2):
        ingest(composed("ingest", ["source=aihub", *overrides]))

    found = query.benchmarks(server.connect(mlflow_server), [experiment])
    assert len(found.frame) == CLASSIFIER_ROWS
    assert set(found.frame["source"]) == {"imported:aihub"}
