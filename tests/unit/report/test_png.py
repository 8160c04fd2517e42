"""A PNG has the height that its figure sets."""

from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from frm_mlflow.report.figures import write_png


def test_a_tall_figure_keeps_its_height(monkeypatch):
    seen = {}
    monkeypatch.setattr(plotly.io, "write_images", lambda **given: seen.update(given))
    tall, usual = go.Figure(layout={"height": 2300}), go.Figure()
    paths, notes = write_png({Path("tall.png"): tall, Path("usual.png"): usual})
    assert (len(paths), notes) == (2, ())
    assert seen["height"] == [2300, 600]
