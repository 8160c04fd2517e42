import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from frm_mlflow.report.figures import to_html
from frm_mlflow.report.leaderboard import accuracy_frm_figure, leaderboard, markdown, terminal_table
from frm_mlflow.schema import FRAME_COLUMNS

MODELS = [
    ("resnet50", "cnn", 1.0, 76.0),
    ("mobilenet_v2", "mobile_cnn", 0.2, 72.0),
    ("slow", "other", 0.5, 70.0),
    ("broken", "cnn", np.nan, 70.0),
]


def frame_of(*runtimes: str, **changes: object) -> pd.DataFrame:
    rows = [
        {"model": model, "family": family, "frm": frm, "top1": top1, "runtime": runtime, "device": "xeon"}
        | {"precision": "fp32", "batch_size": "1", "compute_unit": "cpu", "latency_ms": 5.0, "unstable": ""}
        | changes
        for runtime in runtimes
        for model, family, frm, top1 in MODELS
    ]
    return pd.DataFrame(rows).reindex(columns=list(FRAME_COLUMNS))


def test_ranks_and_frontier_within_each_configuration():
    board = leaderboard(frame_of("torch", "onnxruntime"))
    for _, rows in board.groupby("configuration"):
        assert rows["model"].tolist() == ["mobilenet_v2", "slow", "resnet50", "broken"]
        assert rows["rank"].tolist()[:3] == [1, 2, 3]
        assert np.isnan(rows["rank"].tolist()[3])
        assert rows["frontier"].tolist() == [True, False, True, False]


def test_configuration_names_are_short_until_that_is_ambiguous():
    assert set(leaderboard(frame_of("torch"))["configuration"]) == {"xeon · torch · fp32 · cpu"}
    two = pd.concat([frame_of("torch"), frame_of("torch", batch_size="8")])
    assert set(leaderboard(two)["configuration"]) == {"xeon · torch · fp32 · 1 · cpu", "xeon · torch · fp32 · 8 · cpu"}


def test_the_frame_is_not_changed():
    frame = frame_of("torch")
    before = frame.copy()
    leaderboard(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_the_figure_has_points_and_a_frontier_and_is_offline():
    figure = accuracy_frm_figure(leaderboard(frame_of("torch", "onnxruntime")))
    assert [trace.mode for trace in figure.data] == ["markers+text", "lines"] * 2
    assert list(figure.data[1].x) == [0.2, 1.0]
    page = to_html(figure)
    assert "<script src=" not in page
    assert len(page) > 1_000_000


def test_a_figure_without_accuracy_has_a_note():
    figure = accuracy_frm_figure(leaderboard(frame_of("torch").assign(top1=np.nan)))
    assert "No benchmark" in figure.layout.annotations[0].text


def test_terminal_shows_every_model_and_the_marks():
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(terminal_table(leaderboard(frame_of("torch", unstable="drift"))))
    text = console.export_text()
    assert "mobilenet_v2*!" in text
    assert "broken!" in text
    assert "–" in text


def test_markdown_escapes_names_and_lists_failures():
    frame = frame_of("torch").replace({"slow": "<b>|x"})
    text = markdown(leaderboard(frame), {"levit_128s": "worker died:\nsignal 9"})
    assert "&lt;b&gt;\\|x" in text
    assert "- levit_128s: worker died: signal 9" in text


def test_markdown_is_cut_at_the_top_models():
    assert "… and 3 more." in markdown(leaderboard(frame_of("torch")), top=1)


@pytest.mark.parametrize("view", [markdown, terminal_table, accuracy_frm_figure])
def test_no_benchmarks_is_no_error(view):
    view(leaderboard(frame_of("torch").iloc[:0]))


def test_neighbours_whose_intervals_overlap_are_marked():
    frame = frame_of("torch", "onnxruntime")
    frame["frm_low"], frame["frm_high"] = frame["frm"] * 0.95, frame["frm"] * 1.05
    frame.loc[frame["model"] == "slow", "frm_high"] = 0.96
    board = leaderboard(frame)
    assert set(board.loc[board["close"], "model"]) == {"slow", "resnet50"}
    assert not leaderboard(frame_of("torch"))["close"].any(), "without intervals nothing is known of neighbours"


@pytest.mark.parametrize(
    ("protocol", "launches", "shown"),
    [("quick", 1.0, "quick, 1 launch"), ("default", 7.0, "default, 7 launches"), ("", np.nan, "–")],
)
def test_each_row_names_its_protocol(protocol: str, launches: float, shown: str):
    text = markdown(leaderboard(frame_of("torch", protocol=protocol, latency_launches=launches)))
    assert f"| {shown} |" in text


def test_int8_is_also_shown_against_the_fp32_baseline():
    # int8 takes a quarter of fp32's time and half of its memory: against fp32, FRM is (1/4 * 1/2) ** (1/3) = 1/2 of it.
    costs = {"memory_mib": 100.0, "gmacs": 4.0, "baseline": "resnet50"}
    fp32 = frame_of("torch", **costs, latency_ms=40.0)
    int8 = frame_of("torch", **costs | {"memory_mib": 50.0}, latency_ms=10.0, precision="int8")
    text = markdown(leaderboard(pd.concat([fp32, int8]))).replace("\\", "")
    wide, narrow = (part.splitlines() for part in text.split("**xeon")[1:])
    assert not any("= 1)" in line for line in wide)
    heading, _, first, *_ = [line for line in narrow if line.startswith("|")]
    at = [cell.strip() for cell in heading.split("|")].index("FRM (resnet50 · fp32 = 1)")
    assert [cell.strip() for cell in first.split("|")][at - 1 : at + 1] == ["0.200", "0.100"]


def test_remarks_have_a_column_if_there_are_any():
    assert "| remarks |" not in markdown(leaderboard(frame_of("torch")))
    text = markdown(leaderboard(frame_of("torch", remarks="contention")))
    assert "| remarks |" in text
    assert text.count("| contention |") == len(MODELS)
