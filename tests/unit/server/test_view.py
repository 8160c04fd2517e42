from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.errors import ConfigError
from frm_mlflow.report.snapshot import Snapshot, prepare
from frm_mlflow.server import view
from frm_mlflow.server.choice import Choice, choice_of
from tests.unit.server.conftest import NASTY, PHONE, benchmarks


def key_of(snapshot: Snapshot, device: str) -> str:
    table = snapshot.configurations
    return str(table.index[table["device"] == device][0])


def test_frm_rank_and_frontier_of_a_configuration(two_devices: pd.DataFrame) -> None:
    snapshot = prepare(two_devices, digest="d")
    columns = view.models(snapshot, Choice(filters={}), key_of(snapshot, "Phone"))["columns"]
    by_name = dict(
        zip(columns["model"], zip(columns["frm"], columns["rank"], columns["frontier"], strict=True), strict=True)
    )
    # tiny: 1/8 of the baseline in each component, so FRM is 1/8 by hand; poor has the same cost and lower accuracy.
    assert by_name == {
        "large": (4.0, 4.0, True),
        "poor": (1.0, 2.5, False),
        "resnet50": (1.0, 2.5, True),
        "tiny": (0.125, 1.0, True),
    }


def test_another_baseline_rescales_frm(two_devices: pd.DataFrame) -> None:
    snapshot = prepare(two_devices, digest="d")
    columns = view.models(snapshot, Choice(filters={}, baseline="tiny"), key_of(snapshot, "Phone"))["columns"]
    assert dict(zip(columns["model"], columns["frm"], strict=True))["resnet50"] == pytest.approx(8)


def test_without_the_baseline_the_summary_gives_the_remedy(two_devices: pd.DataFrame) -> None:
    snapshot = prepare(two_devices, digest="d")
    shown = view.models(snapshot, Choice(filters={}, baseline="absent"), key_of(snapshot, "Phone"))
    assert shown["columns"]["frm"] == [None] * 4
    assert "baseline absent was not measured here" in shown["summary"]


def test_filters_narrow_configurations_but_not_their_own_facet(two_devices: pd.DataFrame) -> None:
    snapshot = prepare(two_devices, digest="d")
    shown = view.overview(snapshot, Choice(filters={"device": "Server"}))
    assert [entry["models"] for entry in shown["configurations"]] == [4]
    assert {item["value"] for item in shown["options"]["device"]} == {"Phone", "Server"}
    assert [item["value"] for item in shown["options"]["runtime"]] == ["onnxruntime"]
    assert shown["choice"]["configuration"] == key_of(snapshot, "Server")


def test_filters_that_nothing_passes_show_nothing(two_devices: pd.DataFrame) -> None:
    snapshot = prepare(two_devices, digest="d")
    shown = view.overview(snapshot, Choice(filters={"device": "Server", "tier": "gpu"}))
    assert shown["choice"]["configuration"] == ""
    assert shown["configurations"] == []


def test_batch_sizes_are_sorted_as_numbers() -> None:
    frames = [benchmarks(PHONE, batch_size=size) for size in ("8", "16", "1")]
    shown = view.overview(prepare(pd.concat(frames), digest="d"), Choice(filters={}))
    assert [item["value"] for item in shown["options"]["batch_size"]] == ["1", "8", "16"]


def test_comparison_names_the_largest_rank_change(two_devices: pd.DataFrame) -> None:
    snapshot = prepare(two_devices, digest="d")
    keys = [key_of(snapshot, device) for device in ("Phone", "Server")]
    compared = view.comparison(snapshot, Choice(filters={}, metric="latency_ms"), *keys)
    places = dict(zip(compared["columns"]["model"], compared["columns"]["rank_second"], strict=True))
    assert places == {"large": 1, "poor": 2.5, "resnet50": 2.5, "tiny": 4}
    # Ranks 4, 2.5, 2.5, 1 against 1, 2.5, 2.5, 4: exactly reversed.
    assert compared["spearman"] == pytest.approx(-1)
    assert "from place 4 to 1" in compared["summary"]
    other_way = view.comparison(snapshot, Choice(filters={}, metric="latency_ms"), *keys[::-1])
    assert other_way["columns"]["first"] == compared["columns"]["second"]


def test_configurations_without_common_models_have_no_ranks() -> None:
    frame = pd.concat([benchmarks({"a": (1, 1, 1, 70)}), benchmarks({"b": (1, 1, 1, 70)}, device="Other")])
    snapshot = prepare(frame, digest="d")
    compared = view.comparison(snapshot, Choice(filters={}, metric="latency_ms"), *snapshot.configurations.index)
    assert compared["columns"]["model"] == []
    assert "0 models" in compared["summary"]


def test_one_model_alone_is_its_own_frontier() -> None:
    snapshot = prepare(benchmarks({"resnet50": (40, 100, 4, 76)}), digest="d")
    shown = view.models(snapshot, Choice(filters={}), snapshot.configurations.index[0])
    assert shown["columns"]["frontier"] == [True]
    assert shown["summary"].startswith("1 of 1 model")


def test_an_empty_server_is_an_empty_overview() -> None:
    shown = view.overview(prepare(pd.DataFrame(), digest="d"), Choice(filters={}))
    assert shown["benchmarks"] == 0
    assert shown["configurations"] == []


def test_answers_are_json_whatever_the_names_and_gaps() -> None:
    models = {name: (1.0 + i, np.nan, np.inf, 70.0) for i, name in enumerate(NASTY)}
    snapshot = prepare(benchmarks(models, device=NASTY[0]), digest="d")
    key = snapshot.configurations.index[0]
    answer = view.models(snapshot, Choice(filters={}), key) | view.overview(snapshot, Choice(filters={}))
    text = json.dumps(answer, allow_nan=False)
    assert json.loads(text)["columns"]["model"] == sorted(NASTY)


def test_three_thousand_models_stay_themselves(many_models: pd.DataFrame) -> None:
    snapshot = prepare(many_models, digest="d")
    columns = view.models(snapshot, Choice(filters={}, metric="latency_ms"), snapshot.configurations.index[0])[
        "columns"
    ]
    row = many_models.set_index("model").loc["net 1234"]
    index = columns["model"].index("net 1234")
    assert columns["latency_ms"][index] == pytest.approx(row["latency_ms"], rel=1e-5)
    assert columns["run_id"][index] == row["run_id"]


def test_a_configurations_key_survives_new_benchmarks(two_devices: pd.DataFrame) -> None:
    before = prepare(two_devices, digest="d").configurations.index
    more = pd.concat([two_devices, benchmarks(PHONE, device="Board")])
    assert set(before) <= set(prepare(more, digest="e").configurations.index)


def test_the_frm_interval_is_the_recorded_one() -> None:
    frame = benchmarks({"resnet50": (40, 100, 4, 76), "tiny": (5, 12.5, 0.5, 68)})
    own = frame["model"] == "tiny"
    frame.loc[own, ["baseline", "ratio_source"]] = ["resnet50", "interleaved"]
    frame.loc[own, ["ratio_latency", "frm_low", "frm_high"]] = [1.0, 0.125, 0.5]
    snapshot = prepare(frame, digest="d")
    columns = view.models(snapshot, Choice(filters={}), snapshot.configurations.index[0])["columns"]
    assert columns["frm"][1] == pytest.approx((1 / 8 * 1 * 1 / 8) ** (1 / 3), rel=1e-5)
    assert (columns["low"][1], columns["high"][1]) == (pytest.approx(1 / 8), pytest.approx(1 / 2))
    assert columns["low"][0] is None


def test_a_choice_is_read_from_the_query_string() -> None:
    choice = choice_of({"tier": "edge", "device": "", "metric": "gmacs", "unknown": "x"})
    assert choice == Choice(filters={"tier": "edge"}, metric="gmacs")


@pytest.mark.parametrize("query", [{"metric": "speed"}, {"device": "x" * 501}])
def test_a_wrong_choice_names_the_remedy(query: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"must be one of|at most 500"):
        choice_of(query)


def test_an_unknown_device_gets_the_near_names(two_devices: pd.DataFrame) -> None:
    snapshot = prepare(two_devices, digest="d")
    assert view.overview(snapshot, Choice(filters={"device": "Phoen"}))["near"].endswith("Did you mean 'Phone'?")
    assert view.overview(snapshot, Choice(filters={"device": "Phone"}))["near"] == ""


def test_two_precisions_are_compared_against_one_baseline() -> None:
    int8 = {name: (ms / 4, mib / 2, gmacs, top1) for name, (ms, mib, gmacs, top1) in PHONE.items()}
    snapshot = prepare(pd.concat([benchmarks(PHONE), benchmarks(int8, precision="int8")]), digest="d")
    keys = dict(zip(snapshot.configurations["precision"], snapshot.configurations.index, strict=True))
    found = view.comparison(snapshot, Choice(filters={}), keys["fp32"], keys["int8"])
    assert found["common_baseline"] == "resnet50 · fp32"
    first, second = (found["columns"][name] for name in ("common_first", "common_second"))
    assert second == pytest.approx([value / 2 for value in first])
    by_latency = view.comparison(snapshot, Choice(filters={}, metric="latency_ms"), keys["fp32"], keys["int8"])
    assert by_latency["common_baseline"] == ""
