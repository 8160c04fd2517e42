from __future__ import annotations

import pandas as pd
import pytest

from frm_mlflow.report.board import board, pick_sentence, unstable_warning
from frm_mlflow.report.snapshot import prepare
from tests.unit.server.conftest import PHONE, benchmarks


def shown(frame: pd.DataFrame) -> dict:
    snapshot = prepare(frame, digest="d")
    return board(snapshot.benchmarks(snapshot.configurations.index[0]), baseline="resnet50", metric="frm")


def test_the_cheapest_model_as_accurate_as_the_baseline_is_picked() -> None:
    # small: 1/2 of the baseline in each component, and more accurate; large is more accurate, but costs more.
    frame = benchmarks(PHONE | {"small": (20.0, 50.0, 2.0, 77.0)})
    sentence = pick_sentence("Phone", shown(frame), "resnet50")
    assert sentence.startswith("Phone: small is the cheapest model that is at least as accurate as resnet50 (76.0 %)")
    assert sentence.endswith("FRM 0.5, 20 ms, top-1 77.0 %.")


def test_without_baseline_accuracy_the_most_accurate_is_picked() -> None:
    frame = benchmarks(PHONE | {"resnet50": (40.0, 100.0, 4.0, float("nan"))})
    assert "large is the most accurate model on the frontier" in pick_sentence("Phone", shown(frame), "resnet50")


def test_no_accuracy_is_no_pick() -> None:
    frame = benchmarks({name: (*row[:3], float("nan")) for name, row in PHONE.items()})
    assert pick_sentence("Phone", shown(frame), "resnet50") == ""


@pytest.mark.parametrize(("flagged", "warns"), [(0, False), (1, False), (2, True), (8, True)])
def test_a_warning_from_a_quarter_of_the_rows(flagged: int, warns: bool) -> None:
    text = unstable_warning(["drift"] * flagged + [""] * (8 - flagged))
    assert bool(text) == warns
    if warns:
        assert text.startswith(f"{flagged} of 8 rows")
        assert "measure=rigorous" in text


def test_the_board_has_remarks_and_protocol() -> None:
    columns = shown(benchmarks(PHONE, remarks="contention", protocol="quick"))["columns"]
    assert columns["remarks"] == ["contention"] * 4
    assert columns["protocol"] == ["quick"] * 4


def test_frm_of_int8_relates_to_the_fp32_baseline() -> None:
    # int8 takes a quarter of fp32's time and half its memory: FRM falls by (1/4 * 1/2) ** (1/3) = 1/2.
    int8 = {name: (ms / 4, mib / 2, gmacs, top1) for name, (ms, mib, gmacs, top1) in PHONE.items()}
    snapshot = prepare(pd.concat([benchmarks(PHONE), benchmarks(int8, precision="int8")]), digest="d")
    keys = dict(zip(snapshot.configurations["precision"], snapshot.configurations.index, strict=True))
    common = snapshot.common_baselines("resnet50")
    assert set(common) == {keys["int8"]}
    assert common[keys["int8"]].name == "resnet50 · fp32"
    rows = snapshot.benchmarks(keys["int8"])
    columns = board(rows, baseline="resnet50", metric="frm", common=common[keys["int8"]])["columns"]
    by_model = dict(zip(columns["model"], columns["frm_common"], strict=True))
    assert by_model == pytest.approx({"resnet50": 0.5, "poor": 0.5, "tiny": 0.0625, "large": 2.0})
    assert snapshot.common_baselines("absent") == {}


def test_counts_are_those_of_the_rows() -> None:
    snapshot = prepare(pd.concat([benchmarks(PHONE), benchmarks(PHONE, device="Server")]), digest="d")
    expected = "8 benchmarks (0 measured here, 8 imported) of 4 models on 2 configurations and 2 devices"
    assert snapshot.counts() == expected
