"""Whatever a file contains, an importer returns records or raises an error that names the file."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.importers import Import, read
from frm_mlflow.importers.plain_yaml import load_yaml

DATA = Path(__file__).parents[1] / "data"
GIVEN = {"model": "resnet18", "device": "box", "tier": "cpu"}
SAMPLES = (
    ("trtexec", "trtexec/resnet50_fp16.log"),
    ("trtexec", "trtexec/mobilenet_v2_times.json"),
    ("trtexec", "trtexec/mobilenet_v2_profile.json"),
    ("onnxruntime_perf_test", "onnxruntime_perf_test/mobilenet_v2.txt"),
    ("onnxruntime_perf_test", "onnxruntime_perf_test/result.csv"),
    ("benchmark_model", "benchmark_model/mobilenet_v2.txt"),
    ("benchmark_model", "benchmark_model/resnet18_profile.csv"),
    ("optimum-benchmark", "optimum-benchmark/benchmark_report.json"),
    ("mlperf", "mlperf/single_stream/mlperf_log_summary.txt"),
    ("timm", "timm/benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv"),
    ("csv", "timm/results-imagenet.csv"),
)
quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def outcome(source: str, file: Path) -> Import | None:
    """Return the importer's result for a file, None if it rejects the file; any other exception is a bug."""
    refusal = file.name
    try:
        return read(source, file, SourceConfig(name=source, given=GIVEN))
    except ImportFileError as error:
        refusal = str(error)
    except ConfigError:
        pass
    assert file.name in refusal
    return None


def checked(found: Import | None) -> None:
    for record in found.records if found else ():
        assert all(value == value and abs(value) != float("inf") for value in record.metrics.values())
        assert record.source.startswith("imported:")


@pytest.mark.parametrize(("source", "sample"), SAMPLES)
@quick
@given(data=st.data())
def test_a_true_file_cut_or_spoilt_anywhere(tmp_path: Path, source: str, sample: str, data: st.DataObject) -> None:
    text = (DATA / sample).read_text()
    start = data.draw(st.integers(0, len(text)), label="start")
    end = data.draw(st.integers(start, min(start + 200, len(text))) | st.just(len(text)), label="end")
    put_in = data.draw(st.text(max_size=20), label="put in")
    file = tmp_path / Path(sample).name
    file.write_text(text[:start] + put_in + text[end:], encoding="utf-8", errors="replace")

    checked(outcome(source, file))


@pytest.mark.parametrize("source", sorted({source for source, _ in SAMPLES}))
@quick
@given(content=st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, source: str, content: bytes) -> None:
    file = tmp_path / "anything.txt"
    file.write_bytes(content)

    checked(outcome(source, file))


@pytest.mark.parametrize("source", ["trtexec", "optimum-benchmark"])
@quick
@given(document=documents)
def test_any_json(tmp_path: Path, source: str, document: object) -> None:
    file = tmp_path / "benchmark_report.json"
    file.write_text(json.dumps(document))

    checked(outcome(source, file))


@quick
@given(perf=documents, manifest=documents, numerics=documents, devices=documents)
def test_any_yaml_in_aihubs_place(
    tmp_path: Path, perf: object, manifest: object, numerics: object, devices: object
) -> None:
    folder = tmp_path / "models" / "net"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("perf", perf), ("manifest", manifest), ("numerics", numerics)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "devices_and_chipsets.yaml").write_text(yaml.safe_dump(devices))

    with suppress(ImportFileError):
        checked(read("aihub", tmp_path, SourceConfig(name="aihub", filter="all")))


@quick
@given(document=documents)
def test_yaml_without_aliases_is_read_as_it_was_written(document: object) -> None:
    text = yaml.safe_dump(json.loads(json.dumps(document)))

    assert json.dumps(load_yaml(text, "x"), sort_keys=True) == json.dumps(yaml.safe_load(text), sort_keys=True)
