"""The leaderboard of a sweep: table, terminal, Markdown and the accuracy-FRM plot with its frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from frm_mlflow.analysis.common_baseline import COMMON_BASELINE, FRM_COMMON, against_common_baseline
from frm_mlflow.analysis.facts import own_accuracy
from frm_mlflow.analysis.pareto import frontier
from frm_mlflow.escape import LONGEST, html_text, markdown_sentence, visible
from frm_mlflow.frame import tidy
from frm_mlflow.report.figures import COLOURS, FAMILY_SYMBOLS, Figure, colour, titled
from frm_mlflow.schema import (
    ACCURACY_SOURCE,
    BASELINE,
    COMPUTE_UNIT,
    CONFIGURATION_COLUMNS,
    DEVICE,
    FAMILY,
    FRM,
    FRM_HIGH,
    FRM_LOW,
    GMACS,
    LATENCY_LAUNCHES,
    LATENCY_P50,
    LATENCY_P50_HIGH,
    LATENCY_P50_LOW,
    MEMORY_PEAK,
    MODEL,
    PARAMS_M,
    PRECISION,
    PROTOCOL,
    RATIO_FLOPS,
    RATIO_LATENCY,
    RATIO_MEMORY,
    REMARKS,
    RUNTIME,
    TOP1,
    UNSTABLE,
)

_SHOWN_CONFIGURATION = tuple(tag.column for tag in (DEVICE, COMPUTE_UNIT, RUNTIME, PRECISION))
_METRICS = (
    FRM,
    FRM_LOW,
    FRM_HIGH,
    TOP1,
    LATENCY_P50,
    LATENCY_P50_LOW,
    LATENCY_P50_HIGH,
    MEMORY_PEAK,
    GMACS,
    PARAMS_M,
    RATIO_FLOPS,
    RATIO_LATENCY,
    RATIO_MEMORY,
    LATENCY_LAUNCHES,
)
_METRIC_COLUMNS = tuple(metric.column for metric in _METRICS)
_HEADINGS = ("#", "model", "FRM", "latency ms", "memory MiB", "GMACs", "params M", "top-1 %", "protocol")
_WORDS = ("model", "protocol", "remarks")
"""Headings of columns that are not numbers."""
_TOLD_APART_BY = tuple(name for name in CONFIGURATION_COLUMNS if name not in (*_SHOWN_CONFIGURATION, "chip"))
_LEGEND = "* on the accuracy-FRM frontier   ≈ interval overlaps a neighbour's   ! ratio uncertain, see frm.unstable"
TOP1_FLOAT = "top1_float"
"""Column: the accuracy recorded in the run, which for a quantised network can be that of the float network."""
_FRM, _TOP1, _MODEL = FRM.column, TOP1.column, MODEL.column


def leaderboard(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the benchmarks of a tidy frame, ranked by FRM within each configuration.

    `rank` is 1 for the lowest FRM (ties share the better rank, NaN has no rank). `frontier` is true
    if the model is Pareto-optimal in accuracy and FRM there (paper eq. 5). `close` marks models whose
    FRM interval overlaps that of the row before or after, so that their order may be chance. `frm_common` is FRM
    relative to the baseline in the widest precision of the device (`common_baseline`), `top1` is the accuracy of the
    network in its precision, and `top1_float` the accuracy recorded in the run. Rows without FRM
    are kept at the end of their configuration. The input is not changed.
    """
    board = frame.reindex(
        columns=[
            *CONFIGURATION_COLUMNS,
            _MODEL,
            FAMILY.column,
            UNSTABLE.column,
            REMARKS.column,
            PROTOCOL.column,
            ACCURACY_SOURCE.column,
            *_METRIC_COLUMNS,
        ]
    ).copy()
    board = board.reset_index(drop=True)
    board = board.join(_against_common_baseline(frame.reset_index(drop=True)))
    board[TOP1_FLOAT] = board[_TOP1]
    board[_TOP1] = own_accuracy(tidy(frame))
    words = board[list(CONFIGURATION_COLUMNS)].astype("string").fillna("")
    board["configuration"] = _readable(words)
    groups = words.groupby(list(CONFIGURATION_COLUMNS), sort=True)
    board["rank"] = board[_FRM].groupby(groups.ngroup()).rank(method="min")
    board["frontier"] = False
    for rows in groups.indices.values():
        board.loc[rows, "frontier"] = frontier(board[_FRM].to_numpy()[rows], board[_TOP1].to_numpy()[rows])
    board = board.assign(_group=groups.ngroup()).sort_values(["_group", _FRM, _MODEL], kind="stable")
    board["close"] = _overlaps(board)
    first = ["configuration", "rank", _MODEL, FAMILY.column, "frontier", "close"]
    rest = [name for name in board.columns if name not in {*first, "_group"}]
    return board[first + rest].reset_index(drop=True)


def _overlaps(board: pd.DataFrame) -> pd.Series:
    """Return a mask of the rows, sorted by configuration and FRM, whose interval overlaps a neighbour's."""
    low, high = (board[metric.column] for metric in (FRM_LOW, FRM_HIGH))
    beside_last = (board["_group"] == board["_group"].shift()) & (high.shift() >= low)
    return beside_last | beside_last.shift(-1, fill_value=False)


def _against_common_baseline(frame: pd.DataFrame) -> pd.DataFrame:
    rows = tidy(frame)
    named = rows.loc[rows[BASELINE.column] != "", BASELINE.column].mode()
    return against_common_baseline(rows, baseline=str(named.iloc[0]) if len(named) else "")


def accuracy_frm_figure(board: pd.DataFrame, *, title: str = "Accuracy against FRM") -> Figure:
    """Return the accuracy-FRM scatter of a `leaderboard`, with one colour and one frontier line per configuration."""
    figure = go.Figure()
    for index, (name, rows) in enumerate(board.groupby("configuration", sort=False)):
        placed = rows.dropna(subset=[_FRM, _TOP1])
        if placed.empty:
            continue
        figure.add_trace(_points(str(name), placed, colour(index)))
        figure.add_trace(_frontier_line(str(name), placed, colour(index)))
    figure.update_xaxes(type="log")
    if not figure.data:
        figure.add_annotation(
            text="No benchmark has both FRM and accuracy", showarrow=False, font={"color": COLOURS[-1]}
        )
    return titled(figure, title, x="FRM (baseline = 1, lower is better)", y="ImageNet top-1 (%)")


def terminal_table(board: pd.DataFrame) -> Group:
    """Return the leaderboard for a terminal, one table per configuration; a star marks the accuracy-FRM frontier."""
    tables: list[RenderableType] = [
        _terminal_configuration(str(name), rows) for name, rows in board.groupby("configuration", sort=False)
    ]
    return Group(*tables, Text(_LEGEND, style="dim"))


def markdown(board: pd.DataFrame, failures: Mapping[str, str] | None = None, *, top: int = 10) -> str:
    """Return a summary for a run's description: the `top` models per configuration and each failure with its reason."""
    lines: list[str] = []
    for name, rows in board.groupby("configuration", sort=False):
        headings, cells = _grid(rows)
        lines += [f"**{_plain(str(name))}**", "", _row([_plain(heading) for heading in headings])]
        lines += [_row(["---" if heading in _WORDS else "---:" for heading in headings])]
        lines += [_row([_plain(cell) for cell in row]) for row in cells[:top]]
        if len(rows) > top:
            lines.append(f"\n… and {len(rows) - top} more.")
        lines.append("")
    if board.empty:
        lines += ["No benchmark finished.", ""]
    if failures:
        lines += [f"**Failed: {len(failures)}**", ""]
        lines += [f"- {_plain(name)}: {_plain(reason)}" for name, reason in failures.items()]
    return "\n".join(lines).strip() + "\n"


def _readable(words: pd.DataFrame) -> list[str]:
    """Return a short name for each row's configuration, with more detail only if that is ambiguous."""
    shown = list(_SHOWN_CONFIGURATION)
    for extra in _TOLD_APART_BY:
        if words.groupby(shown)[extra].nunique().gt(1).any():
            shown.append(extra)
    ordered = [name for name in CONFIGURATION_COLUMNS if name in shown]
    return [" · ".join(part for part in row if part) for row in words[ordered].itertuples(index=False)]


def _terminal_configuration(name: str, rows: pd.DataFrame) -> Table:
    headings, cells = _grid(rows)
    table = Table(title=Text(visible(name)), title_justify="left")
    for heading in headings:
        table.add_column(Text(heading), justify="left" if heading in _WORDS else "right", overflow="fold")
    for row in cells:
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table


def _grid(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the headings and cells of one configuration.

    FRM against the device's common baseline and the remarks have a column only if there are any.
    """
    headings, cells = list(_HEADINGS), [_cells(row) for row in _records(rows)]
    if common := _common_baseline(rows):
        after = headings.index("FRM") + 1
        headings.insert(after, f"FRM ({common} = 1)")
        for line, value in zip(cells, rows[FRM_COMMON], strict=True):
            line.insert(after, _number(value, 3))
    remarks = [_text(value) for value in rows[REMARKS.column]]
    if any(remarks):
        headings.append("remarks")
        cells = [[*line, remark] for line, remark in zip(cells, remarks, strict=True)]
    return headings, cells


def _common_baseline(rows: pd.DataFrame) -> str:
    """Return the baseline in the device's widest precision; "" if that is the configuration's own precision."""
    names = {
        name
        for name, precision in zip(rows[COMMON_BASELINE], rows[PRECISION.column], strict=True)
        if name and not name.endswith(f"· {precision}")
    }
    return names.pop() if len(names) == 1 else ""


def _points(name: str, rows: pd.DataFrame, shade: str) -> go.Scatter:
    symbols = [FAMILY_SYMBOLS.get(family, "x") for family in rows[FAMILY.column]]
    return go.Scatter(
        x=rows[_FRM],
        y=rows[_TOP1],
        mode="markers+text",
        name=html_text(name, longest=LONGEST),
        legendgroup=name,
        text=[html_text(model, longest=LONGEST) for model in rows[_MODEL]],
        textposition="top center",
        cliponaxis=False,
        marker={"color": shade, "symbol": symbols, "size": 10},
        customdata=np.column_stack([rows[LATENCY_P50.column], rows[MEMORY_PEAK.column], rows[GMACS.column]]),
        hovertemplate="%{text}<br>FRM %{x:.3f} · top-1 %{y:.1f} %<br>%{customdata[0]:.2f} ms · "
        "%{customdata[1]:.1f} MiB · %{customdata[2]:.2f} GMACs<extra>" + html_text(name, longest=LONGEST) + "</extra>",
    )


def _frontier_line(name: str, rows: pd.DataFrame, shade: str) -> go.Scatter:
    best = rows[rows["frontier"]].sort_values([_FRM, _TOP1])
    return go.Scatter(
        x=best[_FRM],
        y=best[_TOP1],
        mode="lines",
        line={"color": shade, "shape": "hv", "width": 1.5},
        name=f"{html_text(name, longest=LONGEST)}: frontier",
        legendgroup=name,
        hoverinfo="skip",
    )


def _records(rows: pd.DataFrame) -> Sequence[Mapping[str, object]]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _cells(row: Mapping[str, object]) -> list[str]:
    """Format one row for `_HEADINGS`: numbers with fixed digits, a dash for unknown values."""
    signs = {"*": row["frontier"], "≈": row["close"], "!": _text(row[UNSTABLE.column])}
    marks = "".join(sign for sign, applies in signs.items() if applies)
    digits = {FRM: 3, LATENCY_P50: 2, MEMORY_PEAK: 1, GMACS: 3, PARAMS_M: 2, TOP1: 2}
    numbers = [_number(row[metric.column], places) for metric, places in digits.items()]
    return [_number(row["rank"], 0), _text(row[_MODEL]) + marks, *numbers, _protocol(row)]


def _protocol(row: Mapping[str, object]) -> str:
    """Return the measurement protocol with its launches: default, 5 launches."""
    launches = _number(row[LATENCY_LAUNCHES.column], 0)
    counted = "" if launches == "–" else f"{launches} launch{'' if launches == '1' else 'es'}"
    return ", ".join(part for part in (_text(row[PROTOCOL.column]), counted) if part) or "–"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: object, places: int) -> str:
    number = float(value) if isinstance(value, (int, float)) else float("nan")
    return f"{number:.{places}f}" if np.isfinite(number) else "–"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _plain(text: str) -> str:
    """Escape characters that are special in Markdown or HTML."""
    return markdown_sentence(text)
