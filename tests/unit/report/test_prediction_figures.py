import numpy as np
import pandas as pd
import pytest

from frm_mlflow.report.prediction import frontier_figure, rank_figure, reliability_figure, score_figure

NASTY = "<a href='http://host'>net</a>\x1b[2J"
SAFE = "&lt;a href=&#x27;http://host&#x27;&gt;net&lt;/a&gt;\\x1b[2J"


def models() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["resnet50", NASTY, "unknown"],
            "top1": [80.0, 70.0, np.nan],
            "latency_ms": [10.0, 4.0, 5.0],
            "latency_low_ms": [9.0, 2.0, 4.0],
            "latency_high_ms": [12.0, 5.0, 6.0],
            "rank": [3.0, 1.0, 2.0],
            "rank_low": [2.0, 1.0, 1.0],
            "rank_high": [3.0, 1.0, 3.0],
            "measured": [True, False, False],
            "frontier_probability": [0.9, 0.5, np.nan],
        }
    )


def test_the_frontier_shows_intervals_probabilities_and_measured_models():
    figure = frontier_figure(models(), absolute=True)
    points = {trace.hovertext[0]: trace for trace in figure.data}
    assert set(points) == {"resnet50", SAFE}, "a model without accuracy has no point"
    assert points["resnet50"].marker.symbol == "square"
    assert points[SAFE].marker.symbol == "circle"
    assert (points[SAFE].error_x.array[0], points[SAFE].error_x.arrayminus[0]) == (1.0, 2.0)
    assert points["resnet50"].marker.color[0] == pytest.approx(0.9)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_ranks_are_drawn_with_their_intervals():
    (points,) = rank_figure(models()).data
    assert list(points.y) == ["resnet50", "unknown", SAFE]
    assert list(points.error_x.array) == [0.0, 1.0, 0.0]
    assert list(points.error_x.arrayminus) == [1.0, 1.0, 0.0]


def test_reliability_is_drawn_next_to_the_diagonal():
    table = pd.DataFrame({"predicted": [0.1, 0.9], "observed": [0.2, 0.8], "models": [5, 7]})
    observed, diagonal = reliability_figure(table).data
    assert list(observed.y) == [0.2, 0.8]
    assert (list(diagonal.x), list(diagonal.y)) == ([0, 1], [0, 1])


def test_scores_have_one_line_per_predictor():
    rows = [
        (protocol, plan, predictor, anchors, 0.5, 0.4, 0.7)
        for protocol in ("chip", "tier")
        for plan in ("planned", "random")
        for predictor in ("frm", "latency")
        for anchors in (0, 3)
    ]
    columns = ["protocol", "plan", "predictor", "anchors", "f1", "f1_low", "f1_high"]
    figure = score_figure(pd.DataFrame(rows, columns=columns), "chip")
    assert [trace.name for trace in figure.data] == ["frm", "latency"]
    assert list(figure.data[0].x) == [0, 3]
    assert list(figure.data[0].error_y.array) == pytest.approx([0.2, 0.2])
