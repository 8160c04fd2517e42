"""The report as one HTML file: opens offline, prints, and works inside MLflow's sandboxed artifact viewer.

plotly.js is included once. The content security policy in the page's head forbids all requests. Figures
are drawn by the same scripts as on the /frm page, in the reader's light or dark theme.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from string import Template

import pandas as pd
import plotly.io
from plotly.offline import get_plotlyjs

from frm_mlflow.escape import html_text as escape
from frm_mlflow.report.board import FRM_IN_WORDS, METRIC_NAMES, STYLES
from frm_mlflow.report.contents import Contents, Section
from frm_mlflow.report.figures import Figure
from frm_mlflow.schema import FRM

_SCRIPTS = ("dom.js", "links.js", "charts.js", "tables.js", "report.js")
_MOST_TABLE_ROWS = 60
_MOST_TABLE_COLUMNS = 22
_LONGEST_DETAIL = 400


def page(contents: Contents) -> str:
    """Return the report as one self-contained HTML document."""
    figures = {
        f"{section.id}-{place}": figure
        for section in contents.sections
        for place, figure in enumerate(section.figures.values())
    }
    made_at = contents.made_at.strftime("%Y-%m-%d %H:%M UTC")
    return Template(_static("report.html")).substitute(
        title=escape(contents.title),
        style=_static("base.css") + _static("report.css"),
        made_at=f'<time datetime="{contents.made_at.isoformat()}">{made_at}</time>',
        summary=_summary(contents),
        contents="".join(f'<li><a href="#{each.id}">{escape(each.heading)}</a></li>' for each in contents.sections),
        explorer_note=_explorer_note(contents),
        sections="".join(_section(section) for section in contents.sections),
        left_out=_left_out(contents.left_out),
        options=_facts(contents.options),
        environment=_facts(contents.environment),
        data=_data(contents, figures),
        plotly=get_plotlyjs(),
        script=_bundle(_SCRIPTS),
    )


def _static(name: str) -> str:
    return (resources.files("frm_mlflow.report") / "static" / name).read_text(encoding="utf-8")


def _bundle(names: Iterable[str]) -> str:
    """Return the modules as one script: they import by name only, so imports and exports can be removed."""
    modules = "\n".join(_static(name) for name in names)
    without_imports = re.sub(r"^import \{[^}]*\} from .*;\n", "", modules, flags=re.MULTILINE)
    return re.sub(r"^export ", "", without_imports, flags=re.MULTILINE)


def _data(contents: Contents, figures: Mapping[str, Figure]) -> str:
    """Return the data for the scripts as JSON in which no character can end the script element."""
    drawn = {key: _drawing(figure) for key, figure in figures.items()}
    names = {FRM.column: METRIC_NAMES[FRM.column]}
    data = {"boards": contents.boards, "baseline": contents.baseline, "figures": drawn, "styles": STYLES}
    text = json.dumps(data | {"metrics": names}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _drawing(figure: Figure) -> dict[str, object]:
    drawing: dict[str, object] = json.loads(plotly.io.to_json(figure, validate=False))
    layout = drawing["layout"]
    if isinstance(layout, dict):
        layout.pop("template", None)
    return {"data": drawing["data"], "layout": layout}


def _summary(contents: Contents) -> str:
    (_, first), *rest = contents.summary
    items = "".join(
        f'<li>{escape(text)} <a href="#{key}">More<span class="hidden"> on this</span></a></li>' for key, text in rest
    )
    return f"{_picks(contents.picks)}<p>{escape(first)}</p><ul>{items}</ul>"


def _picks(picks: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in picks)
    nothing = "<p>No model can be named: no configuration has both FRM and accuracy.</p>"
    answer = f'<ul class="picks">{items}</ul>' if items else nothing
    return f'<h2>Which model?</h2>{answer}<p class="note">{escape(FRM_IN_WORDS)}</p>'


def _explorer_note(contents: Contents) -> str:
    if not contents.boards_left_out:
        return ""
    why = "their baseline was not measured, or they have fewer models"
    return f'<p class="note">{contents.boards_left_out} configurations are not in this list: {why}.</p>'


def _section(section: Section) -> str:
    sentences = "".join(f"<p>{escape(text)}</p>" for text in section.sentences)
    figures = "".join(_figure(section, place, caption) for place, caption in enumerate(section.figures))
    tables = "".join(_details(caption, table) for caption, table in section.tables.items())
    return (
        f'<section id="{section.id}" aria-labelledby="{section.id}-h">'
        f'<h2 id="{section.id}-h">{escape(section.heading)}</h2>'
        f'<p class="question">{escape(section.question)}</p>{sentences}{figures}{tables}</section>'
    )


def _figure(section: Section, place: int, caption: str) -> str:
    label = escape(f"{caption}. {section.sentences[0]}")
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<div class="plot" role="figure" aria-label="{label}" data-figure="{section.id}-{place}"></div></figure>'
    )


def _details(caption: str, table: pd.DataFrame) -> str:
    if table.shape[1] > _MOST_TABLE_COLUMNS:
        return ""
    shown = table.head(_MOST_TABLE_ROWS)
    more = f" (first {len(shown)} of {len(table)} rows)" if len(shown) < len(table) else ""
    return f"<details><summary>Table: {escape(caption)}{more}</summary>{_table(shown, caption)}</details>"


def _table(table: pd.DataFrame, caption: str) -> str:
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
    kinds = ["" if number else ' class="words"' for number in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{escape(str(name).replace("_", " "))}</th>'
        for name, kind in zip(table.columns, kinds, strict=True)
    )
    rows = "".join(_row(row, kinds) for row in table.itertuples(index=False, name=None))
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="table" tabindex="0" role="region" aria-label="{escape(caption)}">{grid}</div>'


def _row(row: tuple[object, ...], kinds: list[str]) -> str:
    cells = (f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return escape(str(value))


def _left_out(table: pd.DataFrame) -> str:
    if table.empty:
        return "<p>Nothing was left out.</p>"
    short = table["detail"].astype(str).map(_shortened)
    return _table(table.assign(detail=short)[["rows", "reason", "detail"]], "What was left out, and why")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]} …"


def _facts(facts: Mapping[str, object]) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_words(value))}</dd>" for name, value in facts.items())
    return f"<dl>{lines}</dl>"


def _words(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "not set" if value is None else str(value)
