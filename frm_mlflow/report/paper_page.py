"""The paper's tables as one page: self-contained, without scripts, readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from frm_mlflow.analysis.paper import OURS, PAPER
from frm_mlflow.analysis.registry import AnalysisReport
from frm_mlflow.report.board import analysed
from frm_mlflow.report.html import asset, render

TITLES: dict[str, tuple[str, str]] = {
    "table_1": ("Table 1", "FLOPs vs. FRM disagreement summary"),
    "table_2": ("Table 2", "LeViT-128S: FLOPs vs. FRM analysis"),
    "table_3": ("Table 3", "SqueezeNet1.1: FLOPs vs. FRM analysis"),
    "table_4": ("Table 4", "Cross-tier transfer correlations"),
    "table_4_frameworks": ("Section 4.3", "Framework invariance"),
    "table_5": ("Table 5", "Metric stability comparison"),
    "table_6": ("Table 6", "Hardware-model interaction: latency ratio to ResNet50"),
    "table_6_summary": ("Section 4.5", "Statistics of the interaction"),
    "algorithm_1": ("Algorithm 1", "Cross-device Pareto prediction, step by step"),
    "table_7": ("Table 7", "Pareto prediction performance"),
    "section_5_4": ("Section 5.4", "Cost reduction"),
    "table_8": ("Table 8", "Prediction failure rate by architecture family"),
    "section_6": ("Section 6", "Practical case study: the candidates"),
    "section_6_picks": ("Section 6", "Practical case study: what each method picks"),
    "table_9": ("Table 9", "Model architecture details"),
}
"""Number and caption of each table, in the paper's order."""
NOTES: dict[str, str] = {
    "table_1": "Ranks are among the paper's 13 models. The last three columns are controls: the same count with one "
    "metric, or with shuffled FRM (latency and memory exchanged at random among the models), in FRM's place.",
    "table_2": "Ratios are medians over a tier's configurations; the memory ratio is the lowest and highest of them.",
    "table_3": "Ratios are medians over a tier's configurations; the memory ratio is the lowest and highest of them.",
    "table_4": "± is the standard deviation over target configurations. The overall figure of the paper differs from "
    "the mean of its rows, 0.937 and 0.569; ours is the mean of the rows that have a figure.",
    "table_5": "Pairs on different chips; ± is the standard deviation over pairs. FLOPs and parameters are stable by "
    "definition, since they are the same on every device.",
    "table_6": "More efficient on Edge is (GPU - Edge) / GPU; a negative value is less efficient.",
    "table_7": "The last columns are the same F1 with another ranking on the source. Rows below Overall are not in the "
    "paper. Published accuracy has sampling error, too: ± 1.3 points on 1,000 images.",
    "table_8": "Wrong membership of the accuracy-FRM frontier, over all pairs of configurations of two tiers.",
    "table_9": "Mem is 4 bytes per parameter in the paper and here. FLOPs are multiply-accumulates.",
    "section_5_4": "Hours are runs times the mean duration of the benchmarks that were measured here. The price needs "
    "options.price_per_device_hour. 13 of 1,378 runs save 99.1 %, not 99.5 %.",
    "section_6": "Columns without (paper) or (ours) are of the devices that stand in for an RTX 4090 and a Galaxy S21.",
}


@dataclass(frozen=True)
class _Shown:
    """A table as text: the columns of the paper and ours under two headings, each cell with its CSS classes."""

    id: str
    label: str
    number: str
    caption: str
    note: str
    groups: tuple[tuple[str, int], ...]
    """Headings above several columns, with their number; empty if the table has no columns from the paper."""
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]


def paper_page(report: AnalysisReport) -> str:
    """Return the page with the paper's tables, showing the paper's figures next to ours."""
    result = report.results["paper"]
    tables = {key: result.tables[key] for key in TITLES if key in result.tables}
    matrix = report.selection.comparable
    return render(
        "paper.html",
        matrix=matrix,
        data=analysed(matrix),
        digest=report.digest,
        ours=OURS,
        paper=PAPER,
        sentences=result.sentences,
        tables=[_shown(key, tables) for key in tables],
        style=asset("paper.css"),
    )


def _label(key: str, tables: Mapping[str, pd.DataFrame]) -> str:
    number, caption = TITLES[key]
    same = [other for other in tables if TITLES[other][0] == number]
    return number if len(same) == 1 else f"{number}, {caption.rpartition(': ')[2]}"


def _shown(key: str, tables: Mapping[str, pd.DataFrame]) -> _Shown:
    """Return one table; a spread (±) and the end of a range join their number in one cell."""
    table = tables[key]
    number, caption = TITLES[key]
    columns = _merged([str(name) for name in table.columns])
    groups = [_group(head) for head, _ in columns]
    return _Shown(
        id=key,
        label=_label(key, tables),
        number=number,
        caption=caption,
        note=NOTES.get(key, ""),
        groups=tuple(_consecutive(groups)) if {PAPER, OURS} & set(groups) else (),
        columns=tuple((_bare(head), _classes(table, head)) for head, _ in columns),
        rows=tuple(tuple(_cell(table, row, head, more) for head, more in columns) for row in range(len(table))),
    )


def _group(head: str) -> str:
    return next((side for side in (PAPER, OURS) if head.endswith(side)), "")


def _bare(head: str) -> str:
    return head.removesuffix(PAPER).removesuffix(OURS).strip()


def _consecutive(names: Sequence[str]) -> list[tuple[str, int]]:
    """Return each run of equal names with its length."""
    return [(name, len(list(members))) for name, members in groupby(names)]


def _merged(names: list[str]) -> list[tuple[str, str]]:
    """Return each column with the name of its spread column (`X ±`) or upper-end column (`X to`), "" if it has none."""
    spreads = {name for name in names if _bare(name).endswith((" ±", " to"))}
    merged = []
    for name in names:
        if name not in spreads:
            side = _group(name)
            more = [f"{_bare(name)} {mark} {side}".strip() for mark in ("±", "to")]
            merged.append((name, next((extra for extra in more if extra in spreads), "")))
    return merged


def _classes(table: pd.DataFrame, head: str) -> str:
    words = "" if pd.api.types.is_numeric_dtype(table[head]) else "words"
    return " ".join(part for part in (words, "ours" if head.endswith(OURS) else "") if part)


def _cell(table: pd.DataFrame, row: int, head: str, more: str) -> tuple[str, str]:
    text = _text(table[head], row)
    if more and text and (extra := _text(table[more], row)):
        text += f" ± {extra}" if " ±" in more else f" to {extra}"
    twin = _bare(head) + f" {PAPER}"
    missing = head.endswith(OURS) and not text and twin in table and _text(table[twin], row)
    return text, f"{_classes(table, head)}{' empty' if missing else ''}".strip()


def _text(column: pd.Series, row: int) -> str:
    value = column.iloc[row]
    if isinstance(value, (bool, np.bool_)):
        return "✓" if value else ""
    if isinstance(value, (int, float, np.number)):
        return _number(float(value), whole=_is_whole(column))
    return str(value)


def _is_whole(column: pd.Series) -> bool:
    numbers = pd.to_numeric(column, errors="coerce").dropna()
    return bool((numbers == numbers.round()).all())


def _number(value: float, *, whole: bool) -> str:
    if not np.isfinite(value):
        return ""
    digits = 0 if whole or abs(value) >= 1000 else 3 if abs(value) < 10 else 1
    return f"{value:,.{digits}f}"
