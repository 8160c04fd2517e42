"""An analysis report as files: tables as CSV and JSON, figures as HTML and PNG, a summary in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from frm_mlflow import escape
from frm_mlflow.analysis.registry import ANALYSES, AnalysisReport
from frm_mlflow.analysis.result import Result
from frm_mlflow.report.analysis_figures import figures_of
from frm_mlflow.report.board import analysed
from frm_mlflow.report.figures import page_of, write_png
from frm_mlflow.report.paper_page import paper_page


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The files that were written, and one note for each kind that could not be (for example PNG without a browser)."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def render(report: AnalysisReport, directory: Path, *, png: bool = True) -> Rendered:
    """Write a folder per result, together with pages, a summary and a description of the rows.

    The files are `figures.html`, `paper.html` (the paper's tables), `summary.md`, `left_out.csv`, `missing.csv` and
    `runs.json`.

    All figures are on one self-contained page, which works without network access. plotly.js is five
    megabytes, and one page per analysis would contain it nine times (docs/adr/0021). In its folder, each
    figure is a PNG if Chrome is installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    figures = {name: figures_of(name, result.tables) for name, result in report.results.items()}
    for name, result in report.results.items():
        folder = directory / name
        folder.mkdir(exist_ok=True)
        paths += write_tables(result, folder)
        paths.append(_write(folder / "result.json", result_json(name, result)))
    paths += _write_rows(report, directory)
    paths.append(_write(directory / "summary.md", summary_markdown(report)))
    if "paper" in report.results:
        paths.append(_write(directory / "paper.html", paper_page(report)))
    if any(figures.values()):
        sections = {f"{name}: {ANALYSES[name].question}": drawn for name, drawn in figures.items()}
        paths.append(_write(directory / "figures.html", page_of("Analyses", sections)))
    pictures = {directory / name / f"{file}.png": each for name, all_ in figures.items() for file, each in all_.items()}
    drawn, notes = write_png(pictures) if png else ((), ())
    return Rendered(paths=(*paths, *drawn), notes=notes)


def write_tables(result: Result, folder: Path) -> list[Path]:
    """Write every table of a result as CSV."""
    paths = []
    for name, table in result.tables.items():
        path = folder / f"{name}.csv"
        path.write_text(escape.csv_text(table), encoding="utf-8")
        paths.append(path)
    return paths


def result_json(name: str, result: Result) -> str:
    """Return a result as JSON: the question, the sentences and the tables; unknown values are null."""
    analysis = ANALYSES[name]
    tables = {key: _records(table) for key, table in result.tables.items()}
    content = {
        "analysis": name,
        "question": analysis.question,
        "paper": analysis.paper,
        "summary": list(result.sentences),
        "tables": tables,
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def summary_markdown(report: AnalysisReport) -> str:
    """Return the report as sentences: findings of each analysis, refusals, and the rows left out and why."""
    selection = report.selection
    matrix = selection.matrix
    lines = [
        f"**{analysed(matrix)}.** Baseline {plain(matrix.baseline)}. Data digest `{report.digest}`.",
        "",
    ]
    for name, result in report.results.items():
        analysis = ANALYSES[name]
        lines += [f"### {name}", f"*{analysis.question}* (paper: {analysis.paper})", ""]
        lines += [f"- {plain(sentence)}" for sentence in result.sentences] + [""]
    if report.refused:
        lines += ["### Not answered", ""]
        lines += [f"- {name}: {plain(reason)}" for name, reason in report.refused.items()] + [""]
    if len(selection.left_out):
        lines += ["### Left out", "", "| rows | reason | which |", "|---:|---|---|"]
        lines += [_left_out_row(row) for row in selection.left_out.to_dict("records")]
    return "\n".join(lines).strip() + "\n"


def plain(text: str) -> str:
    """Return text on one line in which neither Markdown nor HTML has special characters."""
    return escape.markdown_sentence(text)


def _left_out_row(row: Mapping[object, object], *, longest: int = 300) -> str:
    detail = str(row["detail"])
    short = detail if len(detail) <= longest else detail[:longest] + " …"
    return f"| {row['rows']} | {plain(str(row['reason']))} | {plain(short)} |"


def _write_rows(report: AnalysisReport, directory: Path) -> list[Path]:
    paths = [directory / "left_out.csv", directory / "missing.csv"]
    for path, table in zip(paths, (report.selection.left_out, report.selection.missing), strict=True):
        path.write_text(escape.csv_text(table), encoding="utf-8")
    content = {
        "digest": report.digest,
        "runs": report.run_ids,
        "options": asdict(report.options),
        "refused": report.refused,
    }
    return [*paths, _write(directory / "runs.json", json.dumps(content, ensure_ascii=False, indent=1))]


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    finite = table.astype(object).where(_is_known(table), None)
    return [{str(key): _native(value) for key, value in row.items()} for row in finite.to_dict("records")]


def _is_known(table: pd.DataFrame) -> pd.DataFrame:
    numbers = table.select_dtypes("number").columns
    is_known = table.notna()
    is_known[numbers] &= np.isfinite(table[numbers].astype(np.float64))
    return is_known


def _native(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
