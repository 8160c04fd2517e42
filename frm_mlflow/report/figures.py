"""What all figures share: colours, layout, and self-contained HTML that draws without network."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import plotly.graph_objects as go

Figure: TypeAlias = go.Figure

COLOURS: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
"""Okabe and Ito's palette without its yellow: told apart by colour-blind readers and on white."""
FAMILY_SYMBOLS: dict[str, str] = {
    "cnn": "circle",
    "mobile_cnn": "square",
    "efficient": "diamond",
    "transformer": "triangle-up",
    "hybrid": "cross",
    "other": "x",
}


def colour(index: int) -> str:
    """Return the colour of the `index`-th series; the palette repeats."""
    return COLOURS[index % len(COLOURS)]


def titled(figure: Figure, title: str, *, x: str, y: str) -> Figure:
    """Return `figure` with a title, axis titles (with units) and the house layout."""
    figure.update_layout(
        title={"text": title, "x": 0.02},
        template="plotly_white",
        xaxis_title=x,
        yaxis_title=y,
        legend={"title": None},
        margin={"l": 70, "r": 30, "t": 60, "b": 60},
        hoverlabel={"align": "left"},
    )
    return figure


def to_html(figure: Figure) -> str:
    """Return a page that holds the figure and plotly.js itself: it draws offline and in a sandboxed frame."""
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False})
    return page


def write_html(figure: Figure, path: Path) -> Path:
    """Write the self-contained page of `figure` to `path`."""
    path.write_text(to_html(figure), encoding="utf-8")
    return path
