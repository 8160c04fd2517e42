import pytest

from frm_mlflow.near import did_you_mean, near_names

COMMANDS = ("bench", "gate", "attach", "ingest", "analyze", "report", "predict", "recommend", "plan", "doctor")


@pytest.mark.parametrize(
    ("typed", "candidates", "nearest"),
    [
        ("benhc", COMMANDS, "bench"),
        ("recomend", COMMANDS, "recommend"),
        ("modle", ("model", "device", "measure"), "model"),
        ("max_latency", ("max_latency_ms", "max_frm"), "max_latency_ms"),
        ("Galaxy S25", ("Samsung Galaxy S25", "Google Pixel 7"), "Samsung Galaxy S25"),
        ("MobileNet-V2", ("mobilenet_v2", "mobilenet_v3_large"), "mobilenet_v2"),
        ("rtx4090", ("rtx_4090", "rtx_3090"), "rtx_4090"),
        ("onx", ("onnxruntime", "openvino", "torch"), "onnxruntime"),
    ],
)
def test_nearest_name_comes_first(typed: str, candidates: tuple[str, ...], nearest: str) -> None:
    assert near_names(typed, candidates)[0] == nearest


@pytest.mark.parametrize("typed", ["", "zzzz", "x", "完全"])
def test_nothing_near_gives_no_sentence(typed: str) -> None:
    assert did_you_mean(typed, COMMANDS) == ""
