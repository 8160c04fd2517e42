"""The paper's tables: its figures next to ours, ours checked by hand, and missing values empty."""

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.analysis import paper_figures as printed
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import run_all
from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame
from frm_mlflow.errors import ConfigError, DataError
from frm_mlflow.frame import from_runs
from frm_mlflow.report.paper_page import TITLES, paper_page

OPTIONS = AnalysisOptions(resamples=100, shuffles=10, price_per_device_hour=3.0)


def answered(frame, options=OPTIONS):
    return run_all(frame, ["paper"], options=options, rng=np.random.default_rng(0))


def made(**devices):
    return synthetic_frame(SyntheticRecipe(devices=devices), np.random.default_rng(4))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A frame of three tiers, with an RTX 4090, a Galaxy S21 and MobileNetV3-Large."""
    rows = made(gpu=2, cpu=2, edge=3)
    large = rows[rows["model"] == "mobilenet_v2"].assign(model="mobilenet_v3_large", top1=75.3, gmacs=0.217)
    names = {"gpu-000": "rtx_4090", "edge-000": "Samsung Galaxy S21", "cpu-001": "azure_d16s_v5"}
    rows = pd.concat([rows, large], ignore_index=True)
    return rows.assign(device=rows["device"].replace(names))


@pytest.fixture(scope="module")
def tables(frame):
    return answered(frame).results["paper"].tables


def test_every_table_of_the_paper_is_returned(tables):
    assert set(TITLES) <= set(tables)
    assert {f"table_{n}" for n in range(1, 10)} <= set(TITLES)


def test_rows_are_called_as_in_the_paper(tables):
    assert tables["table_9"]["Model"].tolist() == list(printed.MODELS.values())
    assert tables["table_6"]["Model"].tolist() == ["MNASNet", "MobileNetV3", "LeViT", "ResNet18"]
    assert tables["table_7"]["Source"].tolist()[:6] == ["RTX 4090", "A100", "H100", "CPU v5", "Edge (mean)", "Overall"]
    assert tables["table_4"]["Transfer"].tolist()[:5] == [
        "GPU → Edge", "CPU → Edge", "Edge → GPU", "Edge → CPU", "GPU → CPU",
    ]  # fmt: skip


def test_table_6_follows_from_the_papers_ratios():
    rows = []
    for tier, place in (("gpu", 1), ("edge", 2)):
        for chip in range(3):
            ratios = {"resnet50": 1.0} | {model: figures[place] for model, figures in printed.INTERACTION.items()}
            rows += [
                {"model": model, "device": f"{tier}{chip}", "chip": f"{tier}{chip}", "tier": tier, "gmacs": 1.0}
                | {"latency_ms": (10 + chip) * ratio, "memory_mib": 50.0, "kind": "benchmark", "status": "FINISHED"}
                for model, ratio in ratios.items()
            ]
    table = answered(from_runs(rows)).results["paper"].tables["table_6"]
    head = "More efficient on Edge (%)"
    assert table[f"{head} (ours)"].tolist() == pytest.approx(table[f"{head} (paper)"].tolist(), abs=0.07)
    assert table["GPU (ours)"].tolist() == pytest.approx(table["GPU (paper)"].tolist())


def test_interaction_compares_gpu_with_edge_as_table_6():
    frame = made(gpu=2, edge=3)
    tests = run_all(frame, ["interaction"], options=OPTIONS, rng=np.random.default_rng(0)).results["interaction"].tables
    assert set(zip(tests["tests"]["side"], tests["tests"]["other"], strict=True)) == {("gpu", "edge")}


def test_weights_take_four_bytes_per_parameter_as_in_the_paper(tables):
    table = tables["table_9"]
    assert (table["Params (M) (ours)"] * 4e6 / 2**20).tolist() == pytest.approx(table["Mem (MiB) (ours)"].tolist())
    same = table[table["Model"] == "ResNet50"].iloc[0]
    assert same["Mem (MiB) (ours)"] == pytest.approx(same["Mem (MiB) (paper)"], abs=0.02)


def test_the_case_study_is_read_from_the_papers_devices(frame, tables):
    rows = frame[(frame["device"] == "Samsung Galaxy S21")].set_index("model")["latency_ms"]
    table = tables["section_6"].set_index("Model")
    assert table["Latency on Galaxy S21 (ms) (ours)"]["LeViT-128S"] == pytest.approx(rows["levit_128s"])
    assert table["FRM on RTX 4090 (ours)"].notna().all()
    picks = tables["section_6_picks"].set_index("Method")
    assert picks["Pick (ours)"]["FLOPs-based selection"] == "MobileNetV3-Large"
    best = table["FRM on RTX 4090 (ours)"].idxmin()
    assert picks["Pick (ours)"]["FRM-based selection"] == best


def test_other_devices_replace_missing_paper_devices():
    frame = made(cpu=2, edge=3)
    report = answered(frame)
    tables = report.results["paper"].tables
    study = tables["section_6"]
    assert study["FRM on RTX 4090 (ours)"].isna().all()
    assert study["Latency on Galaxy S21 (ms) (ours)"].isna().all()
    stand_in = [name for name in study.columns if name.startswith("FRM on cpu-")]
    assert len(stand_in) == 1
    assert study[stand_in[0]].notna().sum() == 2  # MobileNetV3-Large is not in the data
    assert tables["table_7"].loc[tables["table_7"]["Source"] == "RTX 4090", "F1 (ours)"].isna().all()
    empty = int(tables["coverage"]["empty"].sum())
    assert f"{empty} cells are empty" in report.results["paper"].sentences[0]
    assert empty > 0


def test_the_cost_of_5_4_is_runs_times_seconds_times_price(tables):
    table = tables["section_5_4"].set_index("Approach")
    assert table["Runs (paper)"].tolist() == [1378, 13, 1365, 99.5]
    full = table.loc["Traditional approach"]
    assert full["Runs (ours)"] == 13 * 7
    assert full["Device hours"] == pytest.approx(13 * 7 * 30 / 3600)
    assert full["Price"] == pytest.approx(full["Device hours"] * 3.0)


def test_an_unknown_device_is_refused_by_name(frame):
    report = answered(frame, AnalysisOptions(resamples=100, shuffles=10, case_target="Nokia 3310"))
    assert "Nokia 3310" in report.refused["paper"]
    with pytest.raises(ConfigError, match="price_per_device_hour must be above 0"):
        AnalysisOptions(price_per_device_hour=0)


def test_other_models_do_not_count(frame, tables):
    others = frame[frame["model"] == "resnet18"].assign(model="another", latency_ms=1.0, gmacs=0.01)
    found = answered(pd.concat([frame, others], ignore_index=True)).results["paper"].tables
    pd.testing.assert_frame_equal(found["table_1"], tables["table_1"])


def test_two_models_of_the_paper_are_needed(frame):
    report = answered(frame[frame["model"] == "resnet50"])
    assert "bench models=paper" in report.refused["paper"]


def test_the_page_is_offline_escapes_names_and_marks_empty_cells():
    frame = made(cpu=2, edge=3)
    frame["device"] = frame["device"].replace({"edge-000": "<script>x</script>"})
    page = paper_page(answered(frame))
    assert "<script" not in page
    assert "http" not in page
    assert "viewport" in page
    assert 'class="ours empty"' in page
    assert all(f"<b>{number}</b>" in page for number, _ in TITLES.values())
    assert "0.961 ± 0.026" in page


def test_nothing_at_all_is_an_error():
    with pytest.raises(DataError):
        answered(from_runs([]))
