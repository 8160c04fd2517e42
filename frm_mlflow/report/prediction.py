"""Predictions, recommendations, plans and evaluations as files: CSV, Markdown and self-contained figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import plotly.express as px
from rich.table import Table
from rich.text import Text

from frm_mlflow import escape
from frm_mlflow.prediction import Evaluation, Plan, Prediction, Recommendation
from frm_mlflow.report.figures import COLOURS, Figure, page_of, titled, with_safe_words

POSSIBLE = 0.1
"""Minimum frontier probability for a model to be listed in the terminal."""
MOST_ROWS = 20

PredictionResult: TypeAlias = Prediction | Recommendation | Plan | Evaluation


def render(result: PredictionResult, directory: Path) -> list[Path]:
    """Write every table as CSV, `summary.md` and, if there is a figure to draw, `figures.html`."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in result.tables().items():
        (directory / f"{name}.csv").write_text(escape.csv_text(table), encoding="utf-8")
        paths.append(directory / f"{name}.csv")
    summary = directory / "summary.md"
    summary.write_text(
        "".join(f"- {escape.markdown_sentence(sentence)}\n" for sentence in result.summary()), encoding="utf-8"
    )
    figures = figures_of(result)
    if figures:
        page = directory / "figures.html"
        page.write_text(page_of(_title(result), {"": figures}), encoding="utf-8")
        paths.append(page)
    return [*paths, summary]


def terminal_table(result: PredictionResult) -> Table | None:
    """Return the models of a result for a terminal, or None for an evaluation, which is described in sentences."""
    if isinstance(result, Evaluation | Plan):
        return None
    prediction = result if isinstance(result, Prediction) else result.prediction
    positions = {model: index for index, model in enumerate(prediction.sources.models)}
    columns = ["model", "top-1 %", "latency", "fits" if isinstance(result, Recommendation) else "on the frontier"]
    table = Table(*columns, title=Text(escape.visible(_title(result))), title_justify="left")
    chance = "probability_fits" if isinstance(result, Recommendation) else "frontier_probability"
    shown = _shown(result)
    for model, top1, share in zip(*(shown[name].tolist() for name in ("model", "top1", chance)), strict=True):
        table.add_row(
            Text(escape.visible(model)),
            "" if np.isnan(top1) else f"{top1:.1f}",
            Text(prediction.latency_words(positions[model]).removesuffix(" predicted")),
            "" if np.isnan(share) else f"{share:.0%}",
        )
    return table


def _shown(result: Prediction | Recommendation) -> pd.DataFrame:
    """Return the rows for a terminal: the candidates, or the models that may be on the frontier, fastest first."""
    if isinstance(result, Recommendation):
        return result.tables()["candidates"]
    models = result.tables()["models"]
    rated = models["frontier_probability"].notna().any()
    shown = models[models["frontier"] | (models["frontier_probability"] > POSSIBLE)] if rated else models
    return shown.head(MOST_ROWS)


def figures_of(result: PredictionResult) -> Mapping[str, Figure]:
    """Return the figures of a result by name."""
    if isinstance(result, Evaluation):
        return _evaluation_figures(result.tables())
    prediction = result if isinstance(result, Prediction) else result.prediction
    models = prediction.tables()["models"]
    return {"frontier": frontier_figure(models, absolute=prediction.absolute), "ranks": rank_figure(models)}


def frontier_figure(models: pd.DataFrame, *, absolute: bool) -> Figure:
    """Return accuracy over predicted latency (or its ratio to the baseline) with intervals, shaded by probability."""
    cost = "latency_ms" if absolute else "ratio_latency"
    low, high = ("latency_low_ms", "latency_high_ms") if absolute else ("ratio_latency_low", "ratio_latency_high")
    figure = px.scatter(
        _with_errors(models.dropna(subset=[cost, "top1"]), cost, low, high),
        x=cost,
        y="top1",
        error_x="above",
        error_x_minus="below",
        color="frontier_probability",
        range_color=(0, 1),
        color_continuous_scale="Viridis",
        symbol="measured",
        symbol_map={True: "square", False: "circle"},
        hover_name="model",
        log_x=True,
        render_mode="svg",
    )
    figure.update_traces(marker_size=10, error_x_color="#BBBBBB")
    figure.update_layout(showlegend=False, coloraxis_colorbar_title="on frontier")
    label = "latency / ms" if absolute else "latency over the baseline's"
    return titled(figure, "Predicted accuracy-latency frontier (squares: measured)", x=label, y="top-1 / %")


def rank_figure(models: pd.DataFrame) -> Figure:
    """Return the interval of each model's latency rank."""
    shown = models.dropna(subset=["rank"]).sort_values("rank", ascending=False)
    figure = px.scatter(
        _with_errors(shown, "rank", "rank_low", "rank_high"),
        x="rank",
        y="model",
        error_x="above",
        error_x_minus="below",
        color_discrete_sequence=COLOURS,
        render_mode="svg",
    )
    figure.update_layout(height=200 + 16 * len(shown))
    return titled(figure, "Predicted latency ranks", x="rank (1 is fastest)", y="")


def reliability_figure(table: pd.DataFrame) -> Figure:
    """Return how often models with a given frontier probability are on the frontier."""
    figure = px.line(
        table, x="predicted", y="observed", hover_data=["models"], markers=True, color_discrete_sequence=COLOURS
    )
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"dash": "dot", "color": "#7F7F7F"})
    return titled(figure, "Frontier probabilities", x="predicted probability", y="share on the frontier")


def score_figure(scores: pd.DataFrame, protocol: str) -> Figure:
    """Return the F1 of each predictor over the number of planned anchors, with intervals over chips."""
    shown = scores[(scores["protocol"] == protocol) & (scores["plan"] == "planned")]
    figure = px.line(
        _with_errors(shown, "f1", "f1_low", "f1_high"),
        x="anchors",
        y="f1",
        error_y="above",
        error_y_minus="below",
        color="predictor",
        markers=True,
        color_discrete_sequence=COLOURS,
    )
    return titled(figure, f"Leave one {protocol} out", x="planned measurements on the target", y="frontier F1")


def _with_errors(table: pd.DataFrame, value: str, low: str, high: str) -> pd.DataFrame:
    """Return a table for plotly with the distances from a value to the ends of its interval."""
    return with_safe_words(table.assign(above=table[high] - table[value], below=table[value] - table[low]))


def _evaluation_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    scores = tables.get("scores", pd.DataFrame())
    protocols = list(dict.fromkeys(scores["protocol"])) if len(scores) else []
    figures = {f"f1_{protocol}": score_figure(scores, protocol) for protocol in protocols}
    if "reliability" in tables:
        figures["reliability"] = reliability_figure(tables["reliability"])
    return figures


def _title(result: PredictionResult) -> str:
    if isinstance(result, Evaluation):
        return "How well held-out devices are predicted"
    return (
        f"Prediction for {result.target.device}"
        if not isinstance(result, Recommendation)
        else (f"Recommendation for {result.prediction.target.device}")
    )
