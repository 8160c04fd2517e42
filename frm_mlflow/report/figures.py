"""Shared by all figures: colours, layout, and self-contained HTML that works without network access."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from frm_mlflow.errors import install_command
from frm_mlflow.escape import LONGEST, html_text
from frm_mlflow.report.html import asset, render

Figure: TypeAlias = go.Figure

COLOURS: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
"""Okabe and Ito's palette without its yellow: distinguishable for colour-blind readers and on white."""
FAMILY_SYMBOLS: dict[str, str] = {
    "cnn": "circle",
    "mobile_cnn": "square",
    "efficient": "diamond",
    "transformer": "triangle-up",
    "hybrid": "cross",
    "other": "x",
}
_PNG_WIDTH, _PNG_HEIGHT = 1000, 600
"""Size of a PNG in pixels; a figure that sets its height keeps it, so that tall figures keep their labels."""


def colour(index: int) -> str:
    """Return the colour of the `index`-th series; the palette repeats."""
    return COLOURS[index % len(COLOURS)]


def titled(figure: Figure, title: str, *, x: str, y: str) -> Figure:
    """Return `figure` with a title, axis titles (with units) and the shared layout."""
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


def with_safe_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for plotly, which interprets HTML in the words that it shows: here they are shown unchanged."""
    words = table.select_dtypes(exclude=["number", "bool"]).columns
    return table.assign(**{name: [html_text(str(word), longest=LONGEST) for word in table[name]] for name in words})


def to_html(figure: Figure) -> str:
    """Return a page that includes the figure and plotly.js: it works offline and in a sandboxed frame."""
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False})
    return page


def write_html(figure: Figure, path: Path) -> Path:
    """Write the self-contained page of `figure` to `path`."""
    path.write_text(to_html(figure), encoding="utf-8")
    return path


def page_of(title: str, sections: Mapping[str, Mapping[str, Figure]]) -> str:
    """Return a self-contained page with each section's figures below its heading; plotly.js is included once.

    It works without network access and inside a sandboxed frame, which would not load a separate script file.
    """
    shown = {heading: figures for heading, figures in sections.items() if figures}
    drawn = {heading: _drawn(figures, at=place) for place, (heading, figures) in enumerate(shown.items())}
    plotly_js = Markup(get_plotlyjs())  # noqa: S704 - plotly's own file  # nosec B704
    return render("figures.html", title=title, sections=drawn, plotly=plotly_js, style=asset("figures.css"))


def _drawn(figures: Mapping[str, Figure], *, at: int) -> list[Markup]:
    config = {"displaylogo": False, "responsive": True}
    return [
        Markup(  # noqa: S704 - plotly's own element  # nosec B704
            figure.to_html(include_plotlyjs=False, full_html=False, config=config, div_id=f"{at}-{name}")
        )
        for name, figure in figures.items()
    ]


def write_png(figures: Mapping[Path, Figure]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write figures as PNG; return the paths written and, if that is not possible, one note with the reason.

    Requires the extra `figures` (kaleido) and an installed Chrome or Chromium; HTML requires neither.
    """
    if not figures:
        return (), ()
    try:
        plotly.io.write_images(
            fig=list(figures.values()),
            file=list(figures),
            width=_PNG_WIDTH,
            height=[figure.layout.height or _PNG_HEIGHT for figure in figures.values()],
            scale=1,
        )
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        missing = importlib.util.find_spec("kaleido") is None
        reason = f"run `{install_command('figures')}`" if missing else str(error).strip().splitlines()[0]
        return (), (f"No PNG was drawn, figures are HTML only: {reason}",)
    return tuple(figures), ()
