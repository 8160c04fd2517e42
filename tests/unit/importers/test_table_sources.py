"""CSV and parquet tables with columns mapped and units converted; hostile cells."""

from pathlib import Path

import pandas as pd
import pytest

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.errors import ConfigError, ImportFileError
from frm_mlflow.importers import Import, read

TABLE = "model,device,tier,latency_ms,memory_mib\nresnet18,box,cpu,12.5,60\nmobilenet_v2,box,cpu,5,20\n"


def table(tmp_path: Path, text: str, *, name: str = "table.csv", **options: object) -> Import:
    (tmp_path / name).write_text(text)
    return read("csv", tmp_path / name, SourceConfig(name="csv", **options))


def test_columns_under_our_names_need_no_mapping(tmp_path: Path) -> None:
    first, second = table(tmp_path, TABLE).records

    assert (first.model, first.configuration.device, first.metrics[schema.LATENCY_P50.key]) == ("resnet18", "box", 12.5)
    assert first.metrics[schema.GMACS.key] == 1.814
    assert first.tags[schema.LATENCY_STATISTIC.key] == "unknown"
    assert second.record_id != first.record_id


def test_columns_and_units_are_mapped(tmp_path: Path) -> None:
    text = "net,time,peak,flops,acc\nResNet-18,12500,62914560,3.6,0.69\n"
    columns = {"model": "net", "latency_ms": "time", "memory_mib": "peak", "gmacs": "flops", "top1": "acc"}
    units = {"latency_ms": "us", "memory_mib": "bytes", "gmacs": "gflop", "top1": "fraction"}
    given = {"device": "Samsung Galaxy S23", "precision": "float32", "runtime": "tflite", "latency_statistic": "p50"}

    (record,) = table(tmp_path, text, columns=columns, units=units, given=given).records

    assert record.model == "resnet18"
    assert record.metrics[schema.LATENCY_P50.key] == pytest.approx(12.5)
    assert record.metrics[schema.MEMORY_PEAK.key] == pytest.approx(60)
    assert record.metrics[schema.GMACS.key] == pytest.approx(1.8)
    assert record.metrics[schema.TOP1.key] == pytest.approx(69)
    c = record.configuration
    assert (c.tier, c.chip, c.precision, c.runtime) == ("edge", "Snapdragon 8 Gen 2", "fp32", "litert")
    assert record.tags[schema.LATENCY_STATISTIC.key] == "p50"
    assert record.tags[schema.FLOPS_SOURCE.key] == "imported:csv"


def test_a_parquet_table_is_the_same_table(tmp_path: Path) -> None:
    pd.DataFrame({"model": ["resnet18"], "device": ["box"], "tier": ["cpu"], "latency_ms": [12.5]}).to_parquet(
        tmp_path / "t.parquet"
    )

    (record,) = read("parquet", tmp_path / "t.parquet").records

    assert (record.model, record.metrics[schema.LATENCY_P50.key]) == ("resnet18", 12.5)


def test_a_missing_figure_leaves_the_row_out_and_zero_is_no_figure(tmp_path: Path) -> None:
    text = "model,device,tier,latency_ms\na,box,cpu,N/A\nb,box,cpu,\nc,box,cpu,0\nd,box,cpu,3\n"

    found = table(tmp_path, text)

    assert [record.model for record in found.records] == ["d"]
    assert found.reasons == {"neither a latency nor a peak memory nor a throughput": 3}
    assert [item.row for item in found.left_out] == ["2", "3", "4"]


def test_a_device_without_a_tier_is_left_out_with_the_remedy(tmp_path: Path) -> None:
    found = table(tmp_path, "model,device,latency_ms\nresnet18,box,3\n")

    assert "source.given.tier" in next(iter(found.reasons))
    assert len(table(tmp_path, "model,device,latency_ms\nresnet18,box,3\n", given={"tier": "cpu"}).records) == 1


def test_an_edited_file_is_a_new_version_of_its_series(tmp_path: Path) -> None:
    before = table(tmp_path, TABLE).records[0]
    same = table(tmp_path, TABLE).records[0]
    after = table(tmp_path, TABLE.replace("12.5", "11.5")).records[0]

    assert before.record_id == same.record_id != after.record_id
    assert before.tags[schema.SERIES.key] == after.tags[schema.SERIES.key]


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        ("=HYPERLINK(0)", r"table\.csv, row 2: '=HYPERLINK.*formula"),
        ("@SUM(1)", "formula"),
        ("+cmd|' /C calc'!A0", "formula"),
        ("-cmd|x", "formula"),
        ("x" * 300, "longer than 250"),
        ('"a\nb"', "control characters"),
    ],
)
def test_a_cell_that_a_spreadsheet_would_execute_is_refused(tmp_path: Path, cell: str, match: str) -> None:
    with pytest.raises(ImportFileError, match=match):
        table(tmp_path, f"model,device,tier,latency_ms\n{cell},box,cpu,3\n")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("model,device,tier,latency_ms\nresnet18,box,cpu,fast\n", r"row 2: latency_ms is 'fast'"),
        ("model,device,tier,latency_ms\nresnet18,box,cpu,=1+1\n", r"row 2: latency_ms is '=1\+1'"),
        ("model,device,tier,latency_ms\nresnet18,bo\n", r"row 2: has 2 cells, the header has 4"),
        ("model,model\na,b\n", "row 1: .*column twice"),
        ('model,device,tier,latency_ms\n"resnet18,box,cpu,3\n', "not CSV|control"),
        ("model,device,tier,latency_ms,batch_size\nresnet18,box,cpu,3,1.5\n", "positive whole number"),
        ("model,device,tier,latency_ms,date\nresnet18,box,cpu,3,yesterday\n", "2026-01-31"),
        ("", "no header"),
    ],
)
def test_a_broken_table_names_file_and_row(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ImportFileError, match=match):
        table(tmp_path, text)


def test_a_line_of_ten_megabytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match=r"table\.csv, row 2: the line is 10,000,0\d\d characters"):
        table(tmp_path, "model,device,tier,latency_ms\n" + "x" * 10_000_000 + ",box,cpu,3\n")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\x80\xff\x00model")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")

    with pytest.raises(ImportFileError, match="UTF-8"):
        read("csv", tmp_path / "t.csv")
    with pytest.raises(ImportFileError, match="not a parquet table"):
        read("parquet", tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"columns": {"speed": "latency_ms"}}, "unsupported names: speed"),
        ({"columns": {"latency_ms": "time"}}, "has no column time; it has model"),
        ({"units": {"latency_ms": "fortnights"}}, "one of ns, us, ms, s"),
        ({"units": {"model": "us"}}, "not a metric"),
    ],
)
def test_a_wrong_mapping_says_what_would_be_right(tmp_path: Path, options: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        table(tmp_path, TABLE, **options)


def test_an_unknown_source_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no importer is named 'geekbench'; installed: aihub, benchmark_model, csv"):
        read("geekbench", tmp_path)
    with pytest.raises(ImportFileError, match="no such file"):
        read("csv", tmp_path / "gone.csv")
    with pytest.raises(ConfigError, match="source=csv needs path="):
        read("csv", None)
    with pytest.raises(ImportFileError, match="has no results"):
        read("csv", tmp_path)


@pytest.mark.parametrize(
    ("cell", "ms"),
    [
        ("12,5", 12.5),
        ("3,25", 3.25),
        ("1234,5", 1234.5),
        ("0,125", 0.125),
        ("1.234,5", 1234.5),
        ("1,234.5", 1234.5),
        ("1,234,567", 1234567),
        ("1 234,5", 1234.5),
        ("1'234.5", 1234.5),
        ("1\u202f234", 1234),
        ("1.5e1", 15),
    ],
)
def test_a_number_that_can_be_read_in_one_way_is_read(tmp_path: Path, cell: str, ms: float) -> None:
    (record,) = table(tmp_path, f'model,device,tier,latency_ms\nresnet18,box,cpu,"{cell}"\n').records

    assert record.metrics[schema.LATENCY_P50.key] == pytest.approx(ms)


def test_a_number_with_two_readings_is_left_out_with_both(tmp_path: Path) -> None:
    found = table(tmp_path, 'model,device,tier,latency_ms\na,box,cpu,"1,234"\nb,box,cpu,5\n')

    assert [record.model for record in found.records] == ["b"]
    assert found.left_out[0].row == "2"
    assert "can be 1.234 or 1234" in found.left_out[0].reason


def test_an_accuracy_below_one_has_two_readings_unless_its_unit_is_stated(tmp_path: Path) -> None:
    text = "model,device,tier,latency_ms,top1\na,box,cpu,5,0.76\nb,box,cpu,5,76%\nc,box,cpu,5,76\n"

    found = table(tmp_path, text)
    assert [record.metrics[schema.TOP1.key] for record in found.records] == [76, 76]
    assert "76 % or 0.76 %" in found.left_out[0].reason
    (first, *_) = table(tmp_path, text.replace("76%", "0.76"), units={"top1": "fraction"}).records
    assert first.metrics[schema.TOP1.key] == 76


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_european_spreadsheet_is_a_table(tmp_path: Path, encoding: str) -> None:
    text = "sep=;\n# made in the lab\nModel;Device;Tier;Latency (us);FPS;;\n\nresnet18;box;cpu;12.500,5;80,1;;\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))

    (record,) = read("csv", tmp_path / "t.csv").records

    assert record.model == "resnet18"
    assert record.metrics[schema.LATENCY_P50.key] == pytest.approx(12.5005)
    assert record.metrics[schema.THROUGHPUT.key] == pytest.approx(80.1)


@pytest.mark.parametrize(
    "name", ["FPS", "images/s", "Images per second", "infer_samples_per_sec", "Throughput (img/s)"]
)
def test_a_throughput_is_no_latency(tmp_path: Path, name: str) -> None:
    (record,) = table(tmp_path, f"model,device,tier,{name}\nresnet18,box,cpu,80\n").records

    assert record.metrics[schema.THROUGHPUT.key] == 80
    assert schema.LATENCY_P50.key not in record.metrics
    assert record.tags[schema.LATENCY_STATISTIC.key] == "none"


@pytest.mark.parametrize(
    ("header", "factor"), [("latency_us", 1e-3), ("Inference time [s]", 1e3), ("p50 (ms)", 1), ("Latency (µs)", 1e-3)]
)
def test_a_unit_in_a_columns_name_counts(tmp_path: Path, header: str, factor: float) -> None:
    (record,) = table(tmp_path, f"model,device,tier,{header}\nresnet18,box,cpu,2\n").records

    assert record.metrics[schema.LATENCY_P50.key] == pytest.approx(2 * factor)


def test_wrong_headers_list_the_columns_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="'model', 'device', 'lat', 'mem'; 'lat' is similar to latency_ms"):
        table(tmp_path, "model,device,lat,mem\nresnet18,box,2,3\n")
    with pytest.raises(
        ImportFileError, match=r"'latency' may be latency_ms but has no unit: .*units=\{latency_ms: ms\}"
    ):
        table(tmp_path, "model,device,latency\nresnet18,box,2\n")
    with pytest.raises(ConfigError, match="Did you mean 'latency_ms'"):
        table(tmp_path, TABLE, columns={"latncy_ms": "time"})


@pytest.mark.parametrize("off", [None, ""])
def test_a_date_column_of_another_form_is_left_out_or_ignored(tmp_path: Path, off: str | None) -> None:
    text = "model,device,tier,latency_ms,date\nresnet18,box,cpu,2,01/31/2026\nresnet18,box,cpu,3,2026-01-31\n"

    found = table(tmp_path, text)
    assert len(found.records) == 1
    assert "source.columns={date: null}" in found.left_out[0].reason
    assert len(table(tmp_path, text, columns={"date": off}).records) == 2


def test_a_rows_own_tier_wins_over_the_catalogues(tmp_path: Path) -> None:
    stated = table(tmp_path, "model,device,tier,latency_ms\na,h100,edge,1\na,h100,,1\n").records
    assert [record.configuration.tier for record in stated] == ["edge", "gpu"]
    found = table(tmp_path, "model,device,tier,latency_ms\na,h100,desktop,1\nb,h100,,1\n")
    assert found.left_out[0].reason == "tier is 'desktop', not one of gpu, cpu, edge"


def test_bad_rows_do_not_stop_good_ones(tmp_path: Path) -> None:
    rows = [
        "a,box,cpu,1",
        "=cmd|x,box,cpu,1",
        "b,box",
        "c,box,cpu,fast",
        "d,box,cpu,-2",
        "e,box,cpu,1e300",
        "f,box,cpu,2",
    ]

    found = table(tmp_path, "model,device,tier,latency_ms\n" + "\n".join(rows) + "\n")

    assert [record.model for record in found.records] == ["a", "f"]
    assert [item.row for item in found.left_out] == ["3", "4", "5", "6", "7"]
    assert {item.file for item in found.left_out} == {"table.csv"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"latency_ms": "-1"}, "between 1 ns and 1 day"),
        ({"latency_ms": "1e-7"}, "between 1 ns and 1 day"),
        ({"latency_ms": "86400001"}, "between 1 ns and 1 day"),
        ({"memory_mib": "1e9"}, "at most 100 TiB"),
        ({"memory_mib": "-1"}, "at most 100 TiB"),
        ({"top1": "101"}, "at most 100 %"),
        ({"top1": "-3"}, "at least 0"),
        ({"batch_size": "1000000"}, "batch_size must be a whole number from 1 to 999,999"),
        ({"batch_size": "0"}, "positive whole number"),
        ({"batch_size": "1e400"}, ""),
        ({"date": "0001-01-01"}, "between 1990 and 2100"),
        ({"date": "1989-12-31"}, "between 1990 and 2100"),
        ({"throughput_items_per_s": "-5"}, "above 0"),
    ],
)
def test_what_cannot_be_true_is_left_out(tmp_path: Path, changes: dict[str, str], match: str) -> None:
    row = {"model": "a", "device": "box", "tier": "cpu", "latency_ms": "5"} | changes
    text = ",".join(row) + "\nb,box,cpu,5" + "," * (len(row) - 4) + "\n" + ",".join(row.values()) + "\n"

    found = table(tmp_path, text)

    reasons = [item.reason for item in found.left_out if item.row == "3"]
    assert match in reasons[0] if match else len(found.records) == 2, "1e400 is infinite: missing"


def test_unknown_names_come_with_near_ones(tmp_path: Path) -> None:
    text = "model,device,tier,latency_ms\nresnet_v1_50,Galaxy S25,edge,1\nmobilenet_v2_1.0,Galaxy S25,edge,1\n"

    found = table(tmp_path, text)

    assert found.near_models["resnet_v1_50"][0] == "resnet50"
    assert found.near_models["mobilenet_v2_1.0"][0] == "mobilenet_v2"
    assert found.near_devices["Galaxy S25"][0] == "Samsung Galaxy S25"
    assert {record.model for record in found.records} == {"resnet_v1_50", "mobilenet_v2_1.0"}, "nothing is assumed"
