"""The report as one HTML file: opens offline, prints, and works inside MLflow's sandboxed artifact viewer.

plotly.js is included once. The content security policy in the page's head forbids all requests. Figures
are drawn by the same scripts as on the /frm page, in the reader's light or dark theme.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pandas as pd
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from frm_mlflow.report.board import FRM_IN_WORDS, METRIC_NAMES, STYLES
from frm_mlflow.report.contents import Contents, Section
from frm_mlflow.report.figures import Figure
from frm_mlflow.report.html import asset, render
from frm_mlflow.schema import FRM

_SCRIPTS = ("dom.js", "links.js", "charts.js", "tables.js", "report.js")
_MOST_TABLE_ROWS = 60
_MOST_TABLE_COLUMNS = 22
_LONGEST_DETAIL = 400


@dataclass(frozen=True)
class Grid:
    """The first rows of a table: headings and cells, each with its CSS class ("" for numbers)."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    total: int
    """Number of rows of the whole table."""


def page(contents: Contents) -> str:
    """Return the report as one self-contained HTML document."""
    return render(
        "report.html",
        contents=contents,
        frm_in_words=FRM_IN_WORDS,
        tables={section.id: _grids(section) for section in contents.sections},
        left_out=_left_out(contents.left_out),
        options={name: _words(value) for name, value in contents.options.items()},
        data=_data(contents),
        asset=asset,
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - plotly's own file  # nosec B704
        script=_bundle(),
    )


def _bundle() -> Markup:
    """Return the modules as one script: they import by name only, so imports and exports can be removed."""
    modules = "\n".join(asset(name) for name in _SCRIPTS)
    without_imports = re.sub(r"^import \{[^}]*\} from .*;\n", "", modules, flags=re.MULTILINE)
    return Markup(re.sub(r"^export ", "", without_imports, flags=re.MULTILINE))  # noqa: S704 - our own files  # nosec B704


def _data(contents: Contents) -> dict[str, object]:
    """Return the data for the scripts; they escape it when they show it."""
    figures = {
        f"{section.id}-{place}": _drawing(figure)
        for section in contents.sections
        for place, figure in enumerate(section.figures.values())
    }
    names = {FRM.column: METRIC_NAMES[FRM.column]}
    facts: dict[str, object] = {
        "boards": contents.boards,
        "baseline": contents.baseline,
        "styles": STYLES,
        "metrics": names,
    }
    return facts | {"figures": figures}


def _drawing(figure: Figure) -> dict[str, object]:
    drawing: dict[str, object] = json.loads(plotly.io.to_json(figure, validate=False))
    layout = drawing["layout"]
    if isinstance(layout, dict):
        layout.pop("template", None)
    return {"data": drawing["data"], "layout": layout}


def _grids(section: Section) -> dict[str, Grid]:
    return {caption: _grid(table) for caption, table in section.tables.items() if table.shape[1] <= _MOST_TABLE_COLUMNS}


def _left_out(table: pd.DataFrame) -> Grid:
    short = table["detail"].astype(str).map(_shortened)
    return _grid(table.assign(detail=short)[["rows", "reason", "detail"]], most_rows=len(table))


def _grid(table: pd.DataFrame, *, most_rows: int = _MOST_TABLE_ROWS) -> Grid:
    kinds = ["" if pd.api.types.is_numeric_dtype(dtype) else "words" for dtype in table.dtypes]
    headings = (str(name).replace("_", " ") for name in table.columns)
    rows = table.head(most_rows).itertuples(index=False, name=None)
    return Grid(
        columns=tuple(zip(headings, kinds, strict=True)),
        rows=tuple(tuple(zip(map(_cell, row), kinds, strict=True)) for row in rows),
        total=len(table),
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return str(value)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]} …"


def _words(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "not set" if value is None else str(value)
