"""The only module that opens other tools' files: what it rejects before that costs memory or time."""

import json
import os
import re
import socket
import threading
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frm_mlflow.config import ReadLimits, SourceConfig
from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.importers import files, read
from frm_mlflow.importers.plain_yaml import load_yaml

IMPORTERS = Path(files.__file__).parent
GIVEN = {"model": "resnet18", "device": "box", "tier": "cpu"}
LOGS = ("trtexec", "onnxruntime_perf_test", "benchmark_model", "mlperf", "optimum-benchmark", "timm", "csv")
OTHER_DOORS = re.compile(
    r"(?<![\w.])open\(|\.(?:read_text|read_bytes|open)\(|yaml\.(?:load|safe_load|parse)|json\.loads?\(|"
    r"pd\.read_|pyarrow\.parquet|pq\.|zipfile\.|tarfile|gzip|np\.(?:load|genfromtxt)|pickle"
)


def test_no_importer_opens_a_file_in_another_way() -> None:
    for module in sorted(IMPORTERS.glob("*.py")):
        if module.name in ("files.py", "plain_yaml.py"):  # the latter parses text that `files` has read
            continue
        code = re.sub(r"files\.(?:Tree|read_text|read_csv|read_parquet|load_json|head)\(", "", module.read_text())
        code = re.sub(r"tree\.text\(", "", code)
        assert not OTHER_DOORS.search(code), f"{module.name} opens a file past importers.files"


@pytest.mark.parametrize("source", LOGS)
def test_devices_pipes_and_sockets_are_refused_at_once(tmp_path: Path, source: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path / "socket"):
        with pytest.raises(ImportFileError, match="not a regular file"):
            read(source, path, SourceConfig(name=source, given=GIVEN))
    server.close()


@pytest.mark.parametrize("source", ["parquet", "aihub"])
def test_archives_and_tables_are_regular_files(tmp_path: Path, source: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImportFileError, match="not a regular file"):
        read(source, tmp_path / "pipe", SourceConfig(name=source))


def test_a_pipe_in_a_folder_does_not_stop_the_others(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("model,device,tier,latency_ms\nresnet18,box,cpu,3\n")

    assert len(read("csv", tmp_path).records) == 1


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "[{a: "])
def test_nested_yaml_is_refused_before_it_ends_the_process(opening: str) -> None:
    with pytest.raises(ImportFileError, match=r"nested|plain values|key"):
        load_yaml(opening * 100_000, "deep.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100 + "]" * 100])
def test_nested_json_is_refused(text: str) -> None:
    with pytest.raises(ImportFileError, match=r"deep\.json"):
        files.load_json(text, "deep.json")


def test_json_with_millions_of_lists_is_refused_before_it_is_built() -> None:
    with pytest.raises(ImportFileError, match="lists and mappings"):
        files.load_json("[" + "[]," * 600_000 + "[]]", "wide.json")


def test_size_rows_and_time_are_settings(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("model,device,tier,latency_ms\n" + "resnet18,box,cpu,3\n" * 5000)

    def limited(**limits: float) -> SourceConfig:
        return SourceConfig(name="csv", limits=ReadLimits(**limits))  # type: ignore[arg-type]

    with pytest.raises(ImportFileError, match=r"source\.limits\.max_mib"):
        read("csv", tmp_path / "t.csv", limited(max_mib=0.01))
    found = read("csv", tmp_path / "t.csv", limited(max_rows=100))
    assert "source.limits.max_rows" in found.left_out[-1].reason
    found = read("csv", tmp_path / "t.csv", limited(max_seconds=1e-9))
    assert "source.limits.max_seconds" in found.left_out[-1].reason
    with pytest.raises(ConfigError, match="above 0"):
        ReadLimits(max_mib=0)


def test_a_parquet_table_is_measured_before_it_is_read(tmp_path: Path) -> None:
    tables = {
        "2,100 columns": pa.table({f"c{n}": pa.array([1]) for n in range(2100)}),
        "2,000 rows": pa.table({"latency_ms": pa.array([1.0] * 2000)}),
        "unpacks to more": pa.table({"model": pa.array(["x" * 2**20] * 20)}),
    }
    limits = ReadLimits(max_mib=4, max_rows=1000)
    for reason, content in tables.items():
        pq.write_table(content, tmp_path / "t.parquet", compression="zstd")
        assert (tmp_path / "t.parquet").stat().st_size < 2**20
        with pytest.raises(ImportFileError, match=reason):
            read("parquet", tmp_path / "t.parquet", SourceConfig(name="parquet", limits=limits))


def test_an_odd_compression_is_one_sentence(tmp_path: Path) -> None:
    wheel = tmp_path / "q.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("models/x/perf.yaml", "a: b")
    content = wheel.read_bytes()
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.index(mark) + offset
        content = content[:at] + (97).to_bytes(2, "little") + content[at + 2 :]
    wheel.write_bytes(content)

    with pytest.raises(ImportFileError, match="compression"):
        read("aihub", wheel, SourceConfig(name="aihub", filter="all"))


FILLERS = (
    "a",
    " ",
    "1",
    "=",
    "a=",
    ".onnx",
    "x.",
    "--",
    "[",
    "Latency: ",
    "count=",
    '"',
    "Graph: [",
    "a.b ",
    "(1,",
    "P99 ",
)


@pytest.mark.parametrize("source", [name for name in LOGS if name not in ("optimum-benchmark",)])
def test_lines_of_a_mebibyte_take_no_time(tmp_path: Path, source: str) -> None:
    """Quadratic matching of one such line takes minutes to hours; three filler texts at a time keep the test short."""
    name = {"mlperf": "mlperf_log_summary.txt", "timm": "benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv"}
    file = tmp_path / name.get(source, "a.csv" if source == "csv" else "a.log")
    lines = [(filler * 2**20)[: 2**20 - 10] for filler in FILLERS]
    file.write_text("onnxruntime_perf_test trtexec STARTING!\n" + "\n".join(lines) + "\n")
    started_s = time.thread_time()

    with pytest.raises((ImportFileError, ConfigError)):
        read(source, file, SourceConfig(name=source, given=GIVEN))

    assert time.thread_time() - started_s < 10


def test_a_source_is_read_in_any_thread(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("model,device,tier,latency_ms\nresnet18,box,cpu,3\n")
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(len(read("csv", tmp_path / "t.csv").records)))
    thread.start()
    thread.join()

    assert numbers == [1]


def test_yaml_from_events_is_yaml(tmp_path: Path) -> None:
    text = "a: [1, 2.5, null, yes, '7', 2024-01-31]\nb: {c: text, 1: x}\nd: |\n  two\n  lines\n"

    assert json.dumps(load_yaml(text, "x"), default=str) == (
        '{"a": [1, 2.5, null, true, "7", "2024-01-31"], "b": {"c": "text", "1": "x"}, "d": "two\\nlines\\n"}'
    )
