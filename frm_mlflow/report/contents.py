"""The contents of the report before it becomes a page: sections of sentences, figures and tables.

Nothing is computed here; results of `analysis` and `prediction` are ordered and put into words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import numpy as np
import pandas as pd

from frm_mlflow.analysis.common_baseline import COMMON_BASELINE, FRM_COMMON
from frm_mlflow.analysis.registry import ANALYSES, AnalysisReport
from frm_mlflow.prediction import Prediction
from frm_mlflow.records import content_hash
from frm_mlflow.report.analysis_figures import figures_of, rank_heat_map
from frm_mlflow.report.board import CommonBaseline, Json, analysed, board, count, pick_sentence
from frm_mlflow.report.figures import Figure
from frm_mlflow.report.prediction import figures_of as figures_of_prediction
from frm_mlflow.report.snapshot import Snapshot
from frm_mlflow.schema import (
    DEVICE,
    FAMILY,
    FRM,
    GMACS,
    LATENCY_P50,
    MEMORY_PEAK,
    MODEL,
    PARAMS_M,
    PROTOCOL,
    REMARKS,
    TOP1,
    UNSTABLE,
)

MOST_BOARDS = 400
MOST_PICKS = 3
"""Number of devices for which the first screen recommends a model."""
MOST_BOARD_ROWS = 20_000
"""Maximum numbers of configurations and rows in the explorer, so that the page stays within a few megabytes."""
_HEADINGS: Mapping[str, str] = MappingProxyType(
    {
        "frm": "FRM on every configuration",
        "disagreement": "Where FLOPs and FRM disagree",
        "transfer": "Does a ranking hold on another device?",
        "stability": "Is FRM more stable than latency, and why?",
        "interaction": "Do models behave differently on another tier?",
        "pareto": "Does a frontier transfer?",
        "failures": "Which transfers fail?",
        "sensitivity": "What else moves a ranking?",
        "cost": "What measuring one device saves",
        "paper": "The paper's tables, and these benchmarks",
    }
)


_LEADERBOARD = (
    *("configuration", "rank", MODEL.column, FAMILY.column, FRM.column, FRM_COMMON, COMMON_BASELINE),
    *(metric.column for metric in (LATENCY_P50, MEMORY_PEAK, GMACS, PARAMS_M, TOP1)),
    "frontier",
)
"""Columns of the leaderboard on the page; its CSV file has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with its question and sentences, and figures and tables by caption."""

    id: str
    heading: str
    question: str
    sentences: tuple[str, ...]
    figures: Mapping[str, Figure] = field(default_factory=lambda: MappingProxyType({}))
    tables: Mapping[str, pd.DataFrame] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything that the page shows."""

    title: str
    made_at: datetime
    picks: tuple[str, ...]
    """Recommended models: one sentence for each of the devices with the most models."""
    summary: tuple[tuple[str, str], ...]
    """Sentences, each with the id of the section that shows more; the first summarises the whole report."""
    boards: tuple[Json, ...]
    boards_left_out: int
    baseline: str
    sections: tuple[Section, ...]
    left_out: pd.DataFrame
    options: Mapping[str, object]
    environment: Mapping[str, str]


def contents_of(
    report: AnalysisReport,
    snapshot: Snapshot,
    *,
    title: str,
    made_at: datetime,
    environment: Mapping[str, str],
    options: Mapping[str, object],
    predictions: Sequence[Section] = (),
) -> Contents:
    """Arrange the results: the summary in sentences, the explorer's boards, one section per analysis.

    Each of `predictions` becomes a section; `options` are those the analyses were run with.
    """
    analyses = [
        _section(name, report, snapshot) for name in ANALYSES if name in report.results or name in report.refused
    ]
    sections = (*analyses, *predictions)
    baseline = report.options.baseline
    keys = _board_keys(snapshot, baseline)
    common = snapshot.common_baselines(baseline)
    boards = {key: _board(snapshot, key, baseline, common.get(key)) for key in keys}
    return Contents(
        title=title,
        made_at=made_at,
        picks=_picks(snapshot, boards, baseline),
        summary=(("data", _data_sentence(report, snapshot)), *_findings(sections, report)),
        boards=tuple(boards.values()),
        boards_left_out=len(snapshot.configurations) - len(keys),
        baseline=baseline,
        sections=sections,
        left_out=report.selection.left_out,
        options=options,
        environment=environment,
    )


def prediction_section(prediction: Prediction) -> Section:
    """Return the section of a prediction: its sentences, its figures with probabilities and its tables."""
    device = prediction.target.device
    figures = {_caption(figure): figure for figure in figures_of_prediction(prediction).values()}
    tables = {name.replace("_", " "): table for name, table in prediction.tables().items() if len(table)}
    return Section(
        id=f"prediction-{content_hash(device)}",
        heading=f"Prediction for {device}",
        question="What is to be expected of every model there, and how surely?",
        sentences=prediction.summary(),
        figures=figures,
        tables=tables,
    )


def _section(name: str, report: AnalysisReport, snapshot: Snapshot) -> Section:
    analysis = ANALYSES[name]
    heading, question = _HEADINGS[name], f"{analysis.question} (paper: {analysis.paper})"
    result = report.results.get(name)
    if result is None:
        return Section(
            id=name, heading=heading, question=question, sentences=(f"Not answered: {report.refused[name]}.",)
        )
    figures = {_caption(figure): figure for figure in figures_of(name, result.tables).values()}
    if name == "frm" and (places := rank_heat_map(result.tables["leaderboard"])):
        figures[_caption(places)] = places
    shown = dict(result.tables)
    if name == "frm":
        shown["leaderboard"] = _leaderboard(shown["leaderboard"], snapshot)
    tables = {key.replace("_", " "): table for key, table in shown.items() if len(table)}
    return Section(
        id=name, heading=heading, question=question, sentences=result.sentences, figures=figures, tables=tables
    )


def _leaderboard(table: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
    """Return the leaderboard with the columns of the terminal's, including each run's protocol and remarks."""
    runs = snapshot.rows[snapshot.rows["run_id"] != ""].drop_duplicates("run_id").set_index("run_id")
    words = runs[[PROTOCOL.column, REMARKS.column, UNSTABLE.column]]
    shown = table.join(words, on="run_id")
    shown = shown.assign(
        frontier=np.where(shown["frontier"], "yes", ""), **{name: shown[name].fillna("") for name in words.columns}
    )
    return shown[[*_LEADERBOARD, *words.columns]]


def _caption(figure: Figure) -> str:
    return str(figure.layout.title.text)


def _data_sentence(report: AnalysisReport, snapshot: Snapshot) -> str:
    unstable = int((snapshot.rows[UNSTABLE.column] != "").sum())
    flagged = f" {count(unstable, 'measurement')} flagged as unstable." if unstable else ""
    return (
        f"{snapshot.counts()}. The analyses use {analysed(report.selection.matrix)}, "
        f"relative to {report.options.baseline}.{flagged}"
    )


def _findings(sections: Sequence[Section], report: AnalysisReport) -> list[tuple[str, str]]:
    answered = [section for section in sections if section.id not in report.refused]
    findings = [(section.id, section.sentences[0]) for section in answered if section.sentences]
    if report.refused:
        names = ", ".join(_HEADINGS[name].lower() for name in report.refused)
        findings.append((next(iter(report.refused)), f"These runs cannot answer: {names}"))
    return findings


def _board_keys(snapshot: Snapshot, baseline: str) -> list[str]:
    """Return the configurations with an FRM, those with the most models first, up to the limit of the page."""
    with_baseline = snapshot.rows[MODEL.column] == baseline
    keys = [key for key, index in snapshot.positions.items() if with_baseline.to_numpy()[index].any()]
    table = snapshot.configurations.loc[keys]
    table = table.sort_values(["models", "label"], ascending=[False, True], kind="stable").head(MOST_BOARDS)
    fits = np.cumsum(table["models"].to_numpy()) <= MOST_BOARD_ROWS
    fits[:1] = True
    return [str(key) for key in table.index[fits]]


def _picks(snapshot: Snapshot, boards: Mapping[str, Json], baseline: str) -> tuple[str, ...]:
    """Return the recommended model for each of the main devices, on its configuration with the most models."""
    main = snapshot.configurations.loc[list(boards), DEVICE.column].drop_duplicates().index
    sentences = (pick_sentence(str(boards[key]["label"]), boards[key], baseline) for key in main)
    return tuple(sentence for sentence in sentences if sentence)[:MOST_PICKS]


def _board(snapshot: Snapshot, key: str, baseline: str, common: CommonBaseline | None) -> Json:
    shown = board(snapshot.benchmarks(key), baseline=baseline, metric=FRM.column, common=common)
    return {"label": str(snapshot.configurations.loc[key, "label"]), **shown}
