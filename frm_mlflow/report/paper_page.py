"""The paper's tables as one page: self-contained, without scripts, readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from frm_mlflow.analysis.paper import OURS, PAPER
from frm_mlflow.analysis.registry import AnalysisReport

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

_STYLE = """
:root{--ink:#1b2733;--soft:#5b6b7a;--line:#dbe2e8;--ours:#eef5fb;--empty:#fbf3e4}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);margin:0;background:#f5f7f9}
main{max-width:72rem;margin:0 auto;padding:1.25rem}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
section{background:#fff;border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.1rem;margin:1rem 0}
h2{font-size:1.05rem;margin:0 0 .6rem}
h2 b{color:#0063a3;margin-right:.4rem}
p{margin:.4rem 0}.note{color:var(--soft);font-size:.9rem}
nav{display:flex;flex-wrap:wrap;gap:.4rem;margin:.8rem 0}
nav a{background:#fff;border:1px solid var(--line);border-radius:1rem;padding:.15rem .7rem;text-decoration:none}
nav a{color:#0063a3;font-size:.9rem}
.wide{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-size:.88rem;width:100%}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}
thead tr:first-child th{border-bottom:0}
th.group{text-align:center;color:var(--ink)}
td{white-space:nowrap}
td.words,th.words{text-align:left;white-space:normal}
tbody td:first-child{font-weight:600;position:sticky;left:0;background:#fff;min-width:8rem}
.ours{background:var(--ours)}td.empty{background:var(--empty)}
.legend span{display:inline-block;padding:0 .5rem;border-radius:.3rem;margin-right:.6rem}
@media(max-width:40rem){main{padding:.6rem}section{padding:.8rem .7rem;border-radius:.4rem}h1{font-size:1.3rem}
td.words{white-space:normal}tbody td:first-child{min-width:6.5rem;max-width:9rem}}
@media print{body{background:#fff}nav{display:none}section{break-inside:avoid}}
"""


def paper_page(report: AnalysisReport) -> str:
    """Return the page with the paper's tables, showing the paper's figures next to ours."""
    result = report.results["paper"]
    tables = {key: result.tables[key] for key in TITLES if key in result.tables}
    links = "".join(f"<a href='#{key}'>{escape(_label(key, tables))}</a>" for key in tables)
    fleet = report.selection.comparable
    data = (
        f"{int(fleet.measured.sum())} benchmarks on {len(fleet.labels)} configurations, "
        f"{len(set(fleet.devices))} devices and {len(set(fleet.chips))} chips. "
        f"Baseline {fleet.baseline}. FRM of {', '.join(fleet.components)}. Data digest {report.digest}."
    )
    body = "".join(_section(key, table) for key, table in tables.items())
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in result.sentences)
    top = f"<h1>{_HEADING}</h1><p class='note'>{escape(data)}</p><nav>{links}</nav>"
    summary = f"<section><h2>Summary</h2>{said}{_LEGEND}</section>"
    return f"<!doctype html><html lang='en'><head>{_HEAD}</head><body><main>{top}{summary}{body}</main></body></html>"


_HEADING = "From FLOPs to Cross-Device Pareto Prediction: the paper's tables and ours"
_HEAD = (
    "<meta charset='utf-8'><meta name='viewport' content='width=device-width,initial-scale=1'>"
    f"<title>The paper's tables</title><style>{_STYLE}</style>"
)
_LEGEND = (
    "<p class='legend note'><span class='ours'>ours</span>"
    "<span style='background:var(--empty)'>in the paper, not in this data</span></p>"
)


def _label(key: str, tables: Mapping[str, pd.DataFrame]) -> str:
    number, caption = TITLES[key]
    same = [other for other in tables if TITLES[other][0] == number]
    return number if len(same) == 1 else f"{number}, {caption.rpartition(': ')[2]}"


def _section(key: str, table: pd.DataFrame) -> str:
    number, caption = TITLES[key]
    note = f"<p class='note'>{escape(NOTES[key])}</p>" if key in NOTES else ""
    shown = _html(table) if len(table) else "<p class='note'>This data has no answer.</p>"
    return (
        f"<section id='{key}'><h2><b>{number}</b>{escape(caption)}</h2><div class='wide'>{shown}</div>{note}</section>"
    )


def _html(table: pd.DataFrame) -> str:
    """Return a table with the paper's columns and ours under two headings; ± and range ends join their number."""
    columns = _merged([str(name) for name in table.columns])
    groups = [_group(head) for head, _ in columns]
    first = "".join(
        f"<th colspan='{size}' class='group{' ours' if name == OURS else ''}'>{_GROUPS[name]}</th>"
        for name, size in _runs(groups)
    )
    second = "".join(f"<th class='{_classes(table, head)}'>{escape(_bare(head))}</th>" for head, _ in columns)
    rows = "".join(
        "<tr>" + "".join(_cell(table, row, head, more) for head, more in columns) + "</tr>" for row in range(len(table))
    )
    two = f"<tr>{first}</tr>" if {PAPER, OURS} & set(groups) else ""
    return f"<table><thead>{two}<tr>{second}</tr></thead><tbody>{rows}</tbody></table>"


_GROUPS = {PAPER: "paper", OURS: "ours", "": ""}


def _group(head: str) -> str:
    return next((side for side in (PAPER, OURS) if head.endswith(side)), "")


def _bare(head: str) -> str:
    return head.removesuffix(PAPER).removesuffix(OURS).strip()


def _runs(groups: Sequence[str]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for name in groups:
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1] + 1)
        else:
            found.append((name, 1))
    return found


def _merged(names: list[str]) -> list[tuple[str, str]]:
    """Return each column with the name of its spread column (`X ±`) or upper-end column (`X to`), "" if it has none."""
    spreads = {name for name in names if _bare(name).endswith((" ±", " to"))}
    found = []
    for name in names:
        if name not in spreads:
            side = _group(name)
            more = [f"{_bare(name)} {mark} {side}".strip() for mark in ("±", "to")]
            found.append((name, next((extra for extra in more if extra in spreads), "")))
    return found


def _classes(table: pd.DataFrame, head: str) -> str:
    words = "" if pd.api.types.is_numeric_dtype(table[head]) else "words"
    return " ".join(part for part in (words, "ours" if head.endswith(OURS) else "") if part)


def _cell(table: pd.DataFrame, row: int, head: str, more: str) -> str:
    text = _text(table[head], row)
    if more and text and (extra := _text(table[more], row)):
        text += f" ± {extra}" if " ±" in more else f" to {extra}"
    twin = _bare(head) + f" {PAPER}"
    missing = head.endswith(OURS) and not text and twin in table and _text(table[twin], row)
    classes = f"{_classes(table, head)}{' empty' if missing else ''}".strip()
    return f"<td class='{classes}'>{escape(text)}</td>"


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
