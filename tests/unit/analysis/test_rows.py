"""Which rows are analysed: each rule separately, on hand-made frames."""

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import ranks
from frm_mlflow.analysis.rows import missing_metrics, usable_rows
from frm_mlflow.analysis.selection import selection_of
from frm_mlflow.errors import ConfigError, DataError
from frm_mlflow.frame import from_runs

END = pd.Timestamp("2026-01-01", tz="UTC")
MODELS = ("resnet50", "a", "b", "c", "d", "e")


def row(model="a", **changes):
    number = {name: place + 1 for place, name in enumerate(MODELS)}.get(model, 9)
    facts = {"run_id": f"{model}-{changes.get('device', 'phone')}", "kind": "benchmark", "status": "FINISHED"}
    facts |= {"device": "phone", "tier": "edge", "runtime": "tflite", "precision": "fp32", "batch_size": 1}
    facts |= {"resolution": "native", "compute_unit": "cpu", "model": model, "end_time": END}
    facts |= {"latency_ms": 10.0 * number, "memory_mib": 5.0 * number, "gmacs": 1.0 * number, "top1": 60.0 + number}
    return facts | changes


def frame(*rows):
    return from_runs(rows)


def device(name, **changes):
    return [row(model, device=name, **changes) for model in MODELS]


def reasons(left_out):
    return {item.reason: item.rows for item in left_out}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "FAILED"}, "not a finished benchmark"),
        ({"status": "RUNNING"}, "not a finished benchmark"),
        ({"kind": "sweep"}, "not a finished benchmark"),
        ({"device": ""}, "no model, device or known tier"),
        ({"tier": "toaster"}, "no model, device or known tier"),
        ({"latency_ms": np.nan}, "latency missing, infinite or not above zero"),
        ({"latency_ms": np.inf}, "latency missing, infinite or not above zero"),
        ({"latency_ms": 0.0}, "latency missing, infinite or not above zero"),
        ({"latency_ms": -3.0}, "latency missing, infinite or not above zero"),
    ],
)
def test_unusable_rows_are_counted(changes, reason):
    rows, left_out = usable_rows(frame(row(), row("b", **changes)), AnalysisOptions())
    assert rows["model"].tolist() == ["a"]
    assert reasons(left_out) == {reason: 1}


def test_only_the_most_common_flops_convention_is_used():
    rows, left_out = usable_rows(
        frame(*(row(m, flops_convention="macs") for m in "abc"), row("d", flops_convention="flops"), row("e")),
        AnalysisOptions(),
    )
    assert set(rows["model"]) == {"a", "b", "c", "e"}
    assert reasons(left_out) == {"another FLOPs convention than most rows": 1}
    assert left_out[0].detail == "flops: 1"


def test_another_input_size_than_usual_is_left_out():
    rows, left_out = usable_rows(
        frame(
            row(device="x", input_size=224),
            row(device="y", input_size=224),
            row(device="z", input_size=299),
            row(device="u"),
        ),
        AnalysisOptions(),
    )
    assert set(rows["device"]) == {"x", "y", "u"}
    assert reasons(left_out) == {"another input size than the model's usual one": 1}


@pytest.mark.parametrize(("rule", "latency"), [("newest", 30.0), ("best", 10.0), ("median", 20.0)])
def test_duplicates_of_one_configuration(rule, latency):
    days = [pd.Timestamp(f"2026-01-0{day}", tz="UTC") for day in (1, 2, 3)]
    copies = [row(latency_ms=value, end_time=day) for value, day in zip((10.0, 20.0, 30.0), days, strict=True)]
    rows, left_out = usable_rows(frame(*reversed(copies)), AnalysisOptions(duplicates=rule))
    assert rows["latency_ms"].tolist() == [latency]
    assert reasons(left_out) == {f"another benchmark of the same configuration (kept: {rule})": 2}


def test_median_of_four_is_a_row_that_was_measured():
    rows, _ = usable_rows(
        frame(*(row(latency_ms=v) for v in (4.0, 1.0, 3.0, 2.0))), AnalysisOptions(duplicates="median")
    )
    assert rows["latency_ms"].tolist() == [2.0]


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="newest, best, median"):
        AnalysisOptions(duplicates="first")


def test_a_republished_job_counts_for_the_device_with_more_rows():
    jobs = [row(m, device="galaxy", job_id=f"job-{m}") for m in "abcd"]
    republished = [row(m, device="alias", job_id=f"job-{m}") for m in "ab"]
    rows, left_out = usable_rows(frame(*republished, *jobs), AnalysisOptions())
    assert rows["device"].unique().tolist() == ["galaxy"]
    assert reasons(left_out) == {"job republished under another device": 2}
    rows, left_out = usable_rows(frame(*republished, *jobs), AnalysisOptions(count_duplicates=True))
    assert (len(rows), left_out) == (6, [])


def test_a_job_counts_under_the_device_that_ran_it():
    rows = [row(m, device=d, job_id=f"job-{m}", measured_on="zulu") for m in "ab" for d in ("alpha", "zulu")]
    kept, _ = usable_rows(frame(*rows, row("c", device="alpha")), AnalysisOptions())
    assert kept[kept["model"] != "c"]["device"].unique().tolist() == ["zulu"]


def test_of_a_series_the_newest_version_counts():
    old = row(series="s", runtime_version="1", end_time=pd.Timestamp("2025-01-01", tz="UTC"))
    rows, left_out = usable_rows(
        frame(old, row(series="s", runtime_version="2"), row("b"), row("c")), AnalysisOptions()
    )
    assert sorted(rows["runtime_version"]) == ["", "", "2"]
    assert reasons(left_out) == {"superseded by a newer version of its source": 1}


def test_latency_statistics_and_memory_definitions_never_mix():
    mean = device("phone", latency_statistic="mean")
    matrix = selection_of(frame(*device("phone", latency_statistic="p50"), *mean), AnalysisOptions()).matrix
    assert len(matrix.labels) == 2
    assert all("mean" in label or "p50" in label for label in matrix.labels)


def test_a_row_without_memory_does_not_split_its_configuration():
    rows = device("phone", memory_definition="rss_peak")
    rows[2] |= {"memory_definition": "", "memory_mib": np.nan}
    assert len(selection_of(frame(*rows), AnalysisOptions()).matrix.labels) == 1


def test_ranks_need_no_baseline_and_values_of_frm_do():
    rows = [*device("phone"), *(row(m, device="tablet") for m in "abcde")]
    selection = selection_of(frame(*rows), AnalysisOptions())
    assert selection.matrix.devices.tolist() == ["phone", "tablet"]
    assert np.isnan(selection.matrix.frm()[1]).all()
    assert ranks(selection.matrix.frm_order())[1, :5].tolist() == [1, 2, 3, 4, 5]
    left = selection.left_out.iloc[0]
    assert "ranks count" in left["reason"]
    assert left["rows"] == 5
    assert "tablet" in left["detail"]


def test_a_missing_baseline_is_refused_with_measured_models():
    with pytest.raises(DataError, match=r"no configuration has the baseline resnet05; .*a \(1\), b \(1\)"):
        selection_of(frame(*device("phone")), AnalysisOptions(baseline="resnet05"))


def test_models_without_a_usable_row_are_not_in_the_matrix():
    rows = [*device("phone"), row("z", device="phone", batch_size=8), row("resnet50", device="phone", batch_size=8)]
    selection = selection_of(frame(*rows), AnalysisOptions())
    assert "z" in selection.matrix.models
    assert "z" not in selection.comparable.models


def test_energy_as_a_component_needs_an_energy():
    options = AnalysisOptions(components=["flops", "latency", "memory", "energy"])
    with pytest.raises(DataError, match="no benchmark has an energy"):
        selection_of(frame(*device("phone")), options)
    rows = [r | {"energy_mj": 16.0 * place} for place, r in enumerate(device("phone"), start=1)]
    matrix = selection_of(frame(*rows), options).matrix
    assert matrix.frm() == pytest.approx(matrix.frm(components=options.components))
    with pytest.raises(ConfigError, match=r"options\.components must be some of flops"):
        AnalysisOptions(components=["flops", "power"])


def test_near_duplicate_devices_count_once():
    twin = [r | {"device": "twin", "latency_ms": r["latency_ms"] * 1.005} for r in device("phone", chip="soc")]
    other = [r | {"device": "other", "latency_ms": r["latency_ms"] * 1.05} for r in device("phone", chip="soc")]
    rows = frame(*device("phone", chip="soc"), *twin, *other)
    selection = selection_of(rows, AnalysisOptions())
    assert sorted(selection.matrix.devices) == ["other", "phone"]
    assert selection.left_out["reason"].str.startswith("near-duplicate device").tolist() == [True]
    assert len(selection_of(rows, AnalysisOptions(count_duplicates=True)).matrix.labels) == 3


def test_same_numbers_on_another_chip_are_no_duplicate():
    rows = frame(
        *device("phone", chip="soc"), *device("twin", chip="soc 2"), *device("nameless"), *device("nameless too")
    )
    assert len(selection_of(rows, AnalysisOptions()).matrix.labels) == 4


def test_swapped_ranks_are_no_duplicate():
    swapped = device("twin", chip="soc")
    swapped[1]["latency_ms"], swapped[2]["latency_ms"] = swapped[2]["latency_ms"], swapped[1]["latency_ms"]
    assert len(selection_of(frame(*device("phone", chip="soc"), *swapped), AnalysisOptions()).matrix.labels) == 2


def test_other_batch_sizes_and_resolutions_are_not_compared():
    rows = [*device("phone"), *device("tablet"), *device("phone", batch_size=8), *device("phone", resolution="320")]
    selection = selection_of(frame(*rows), AnalysisOptions())
    assert (len(selection.matrix.labels), len(selection.comparable.labels)) == (4, 2)
    assert selection_of(frame(*rows), AnalysisOptions(batch_size=8)).comparable.devices.tolist() == ["phone"]
    with pytest.raises(DataError, match=r"no benchmark with batch_size 3; there are 1, 8"):
        selection_of(frame(*rows), AnalysisOptions(batch_size=3))


def test_no_rows_say_which_rule_removed_how_many():
    with pytest.raises(DataError, match=r"among 2 rows \(not a finished benchmark: 2\)"):
        selection_of(frame(row(status="FAILED"), row("b", status="KILLED")), AnalysisOptions())
    with pytest.raises(DataError, match="the query returned none"):
        selection_of(frame(), AnalysisOptions())


def test_missing_and_infinite_metrics_are_counted():
    table = missing_metrics(
        frame(row(), row("b", memory_mib=np.nan), row("c", memory_mib=np.inf), row("d", top1=np.nan))
    )
    assert table.set_index("metric").loc["memory_mib"].to_dict() == {"missing": 1, "infinite": 1}
    assert table.set_index("metric").loc["top1"].to_dict() == {"missing": 1, "infinite": 0}
    assert "energy_mj" not in set(table["metric"])


def test_the_frame_is_not_changed():
    rows = frame(*device("phone"), row(status="FAILED"))
    before = rows.copy()
    selection_of(rows, AnalysisOptions())
    pd.testing.assert_frame_equal(rows, before)
