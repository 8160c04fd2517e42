"""Figures of the analyses, drawn from their tables; only values in a table are shown.

Points and lines are drawn as SVG, because a page with many WebGL figures exceeds a browser's limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from frm_mlflow.escape import LONGEST, html_text
from frm_mlflow.report.figures import COLOURS, Figure, titled, with_safe_words

Tables: TypeAlias = Mapping[str, pd.DataFrame]

_WORDS = {
    "frm": "FRM",
    "flops": "FLOPs",
    "params": "parameters",
    "frm_shuffled": "FRM, shuffled",
    "frm_latency_shuffled": "FRM, latency shuffled",
    "mobile_cnn": "mobile CNN",
    "cnn": "CNN",
}
"""Display names of predictors, metrics and families; others are shown by their key."""
_HEAT_ROWS = 80
_HOVER = "%{{y}}<br>%{{x}}: %{{{}}}<extra></extra>"
_FLIPS_SHOWN = 25
_DIRECTIONS_SHOWN = 6
"""Number of directions drawn separately, as many as three tiers have; more lines could not be distinguished."""


def figures_of(name: str, tables: Tables) -> dict[str, Figure]:
    """Return the figures of one analysis by file name; an empty table does not give a figure."""
    drawn = {file: draw(tables) for file, draw in _FIGURES[name].items()}
    return {file: figure for file, figure in drawn.items() if figure is not None}


def frm_heat_map(tables: Tables) -> Figure | None:
    """Draw FRM of each model on each configuration, on a log colour scale."""
    board = tables["leaderboard"].dropna(subset=["frm"])
    if board.empty:
        return None
    grid = _by_configuration(board, "frm")
    shown = grid.head(_HEAT_ROWS)
    cut = f", first {_HEAT_ROWS} of {len(grid)} configurations" if len(grid) > _HEAT_ROWS else ""
    figure = _heat_map(shown.map(np.log2), f"log2 FRM{cut}", x="model", y="configuration", centre=0.0)
    return figure.update_traces(text=shown.round(3).to_numpy(), hovertemplate=_HOVER.format("text"))


def rank_heat_map(board: pd.DataFrame) -> Figure | None:
    """Draw each model's rank by FRM on each configuration, from the `frm` analysis's leaderboard."""
    ranked = board.dropna(subset=["rank"])
    if ranked.empty:
        return None
    grid = _by_configuration(ranked, "rank").head(_HEAT_ROWS)
    title = "Rank by FRM on each configuration (1 is the cheapest)"
    figure = _heat_map(grid, title, x="model", y="configuration", colours="Cividis_r")
    return figure.update_traces(hovertemplate="%{y}<br>%{x}: rank %{z:.0f}<extra></extra>")


def accuracy_frm(tables: Tables) -> Figure | None:
    """Draw accuracy against FRM for every benchmark, coloured by tier; frontier members are filled."""
    board = tables["leaderboard"].dropna(subset=["frm", "top1"])
    if board.empty:
        return None
    where = np.where(board["frontier"], "on the frontier", "not on the frontier")
    words = board["model"] + " · " + board["configuration"]
    figure = px.scatter(
        with_safe_words(board.assign(where=where, words=words).sort_values("tier", kind="stable")),
        x="frm",
        y="top1",
        color="tier",
        symbol="where",
        symbol_map={"on the frontier": "circle", "not on the frontier": "circle-open"},
        custom_data=["words"],
        render_mode="svg",
        log_x=True,
        color_discrete_sequence=COLOURS,
    )
    hover = "%{customdata[0]}<br>FRM %{x:.3f} · top-1 %{y:.1f} %<extra></extra>"
    figure.update_traces(marker_size=7, hovertemplate=hover)
    title = "Accuracy against FRM (filled: on its configuration's frontier)"
    return titled(figure, title, x="FRM (baseline = 1)", y="top-1 (%)")


def disagreement_bars(tables: Tables) -> Figure | None:
    """Draw how many cases promote and penalise each model."""
    table = tables["by_model"][tables["by_model"]["cases"] > 0]
    if table.empty:
        return None
    counts = {"promoted by FRM": table["promoted"], "penalised by FRM": table["cases"] - table["promoted"]}
    shown = with_safe_words(table.assign(**counts))
    figure = px.bar(shown, x="model", y=list(counts), color_discrete_sequence=COLOURS)
    return titled(figure, "Where FLOPs and FRM disagree", x="model", y="configurations")


def disagreement_slopes(tables: Tables) -> Figure | None:
    """Draw the ranks that each model gains, coloured by family."""
    cases = tables["cases"]
    if cases.empty:
        return None
    shown = _in_words(cases.sort_values("family", kind="stable"), "family")
    figure = px.box(
        shown, x="model", y="ranks_gained", color="family", boxmode="overlay", color_discrete_sequence=COLOURS
    )
    return titled(figure, "Ranks gained from FLOPs to FRM, where they disagree", x="model", y="ranks gained")


def transfer_bars(tables: Tables) -> Figure | None:
    """Draw how well each predictor transfers FRM and latency ranks between sides, with the shuffled control."""
    if tables["sides"].empty:
        return None
    measured = tables["sides"].rename(columns={"rho": "mean"})
    table = pd.concat([measured, tables["sides_shuffled"]], ignore_index=True)
    itself = table["predicts"].eq("itself")
    predictors = table["predictor"].replace("frm_shuffled", "itself")
    table = table.assign(predicts=table["predicts"].where(~itself, predictors))
    table = table[table["predicts"].isin(["frm", "latency"])]
    words = table["source"] + " → " + table["target"] + ": " + table["predicts"] + " ranks"
    return _bars(table.assign(x=words), "mean", "Rank transfer", y="Spearman's ρ")


def concordance_lines(tables: Tables) -> Figure | None:
    """Draw right decisions by how far apart two models are on the target; the mean if there are many directions."""
    table = tables["concordance"]
    if table.empty:
        return None
    shown = table[table["predictor"].isin(["frm", "latency", "flops"])]
    shown = shown.assign(direction=shown["source"] + " → " + shown["target"])
    if (directions := shown["direction"].nunique()) > _DIRECTIONS_SHOWN:
        means = shown.groupby(["predictor", "band"], sort=False)["right"].mean().reset_index()
        shown = means.assign(direction=f"mean of {directions} directions")
    figure = px.line(
        with_safe_words(shown.assign(predictor="by " + shown["predictor"].map(_word))),
        x="band",
        y="right",
        color="direction",
        line_dash="predictor",
        line_dash_sequence=["solid", "dash", "dot"],
        markers=True,
        render_mode="svg",
        color_discrete_sequence=COLOURS,
    )
    figure.add_hline(y=0.5, line_dash="dot", line_color="#888888")
    x, y = "latency ratio of the two on the target", "share of right decisions"
    return titled(figure, "Right decisions between two models", x=x, y=y)


def matrix_frm(tables: Tables) -> Figure | None:
    """Draw the rank correlation of FRM between devices, with similar devices next to each other."""
    return _matrix(tables["matrix_frm"], "FRM: rank correlation between devices")


def matrix_latency(tables: Tables) -> Figure | None:
    """Draw the rank correlation of latency between devices, with similar devices next to each other."""
    return _matrix(tables["matrix_latency"], "Latency: rank correlation between devices")


def stability_bars(tables: Tables) -> Figure | None:
    """Draw the rank stability of every metric, with the shuffled controls next to FRM."""
    measured = tables["metrics"].rename(columns={"rho": "mean"})
    table = pd.concat([measured, tables["shuffled"]], ignore_index=True).dropna(subset=["mean"])
    if table.empty:
        return None
    shown = table.assign(x=table["metric"].map(_word), predictor="")
    figure = _bars(shown, "mean", "Rank stability between configurations", y="Spearman's ρ")
    return figure.update_layout(showlegend=False, xaxis_title="metric")


def stability_pairs(tables: Tables) -> Figure | None:
    """Draw the distribution of the pairs' rank correlations."""
    table = tables["pairs"]
    metrics = [name for name in ("frm", "latency", "memory", "accuracy") if table[name].sum()]
    if not metrics:
        return None
    shares = {_word(name): table[name] / table[name].sum() for name in metrics}
    figure = px.line(
        table.assign(middle=(table["rho_from"] + table["rho_to"]) / 2, **shares),
        x="middle",
        y=list(shares),
        line_shape="hvh",
        render_mode="svg",
        color_discrete_sequence=COLOURS,
    )
    title = "Rank correlations of pairs of configurations"
    return titled(figure, title, x="Spearman's ρ", y="share of pairs")


def interaction_dumbbells(tables: Tables) -> Figure | None:
    """Draw each model's median latency ratio on two sides, with chips counted once."""
    table = tables["tests"][tables["tests"]["unit"] == "chip"].dropna(subset=["ratio", "ratio_other"])
    if table.empty:
        return None
    label = table["model"] + " · " + table["side"] + " / " + table["other"]
    ends = [
        pd.DataFrame({"label": label, "end": table[end], "ratio": table[ratio]})
        for end, ratio in (("side", "ratio"), ("other", "ratio_other"))
    ]
    shown = with_safe_words(pd.concat(ends).sort_values("end", kind="stable"))
    figure = px.scatter(
        shown, x="ratio", y="label", color="end", log_x=True, color_discrete_sequence=COLOURS, render_mode="svg"
    )
    figure.update_traces(marker_size=9)
    bars = px.line(shown, x="ratio", y="label", line_group="label", render_mode="svg").update_traces(
        line_color="#bbbbbb", hoverinfo="skip", hovertemplate=None, showlegend=False
    )
    figure = go.Figure([*bars.data, *figure.data], figure.layout)
    figure.update_layout(height=max(400, 22 * len(table)))
    return titled(figure, "Latency ratio to the baseline (median of chips)", x="latency ratio", y="")


def pareto_bars(tables: Tables) -> Figure | None:
    """Draw the F1 of transferred frontiers by predictor, with the shuffled control."""
    if tables["sides"].empty:
        return None
    table = pd.concat([tables["sides"].rename(columns={"f1": "mean"}), tables["shuffled"]], ignore_index=True)
    words = table["source"] + " → " + table["target"] + ": accuracy-" + table["objective"]
    return _bars(table.assign(x=words), "mean", "Transferred frontiers", y="F1")


def failure_bars(tables: Tables) -> Figure | None:
    """Draw the failure rate by family, for each pair of sides and frontier."""
    table = tables["by_family"].dropna(subset=["failure_rate"])
    if table.empty:
        return None
    words = table["source"] + " → " + table["target"] + ": accuracy-" + table["objective"]
    grouped = table.assign(x=words, predictor=table["family"])
    return _bars(grouped, "failure_rate", "Wrong frontier membership by family", y="share of cases")


def flip_bars(tables: Tables) -> Figure | None:
    """Draw the pairs of models whose latency order flips most often."""
    table = tables["flips"]
    table = table[table["metric"] == "latency"].sort_values("flipped", ascending=False, kind="stable")
    table = table.head(_FLIPS_SHOWN)
    if table.empty:
        return None
    words = table["looked_cheaper"] + " / " + table["is_cheaper"] + " · " + table["source"] + " → " + table["target"]
    factors = [
        f"here {a:.2f}×, there {b:.2f}×" for a, b in zip(table["factor_here"], table["factor_there"], strict=True)
    ]
    shown = with_safe_words(table.assign(words=words, factors=factors))
    figure = px.bar(shown, x="flipped", y="words", text="factors", orientation="h", color_discrete_sequence=COLOURS[1:])
    figure.update_layout(height=max(400, 26 * len(table)), yaxis={"autorange": "reversed"})
    return titled(figure, "Pairs whose latency order flips", x="share of the target's configurations", y="")


def sensitivity_bars(tables: Tables) -> Figure | None:
    """Draw the rank correlation along each axis."""
    table = tables["axes"].dropna(subset=["rho"])
    if table.empty:
        return None
    words = table["axis"] + " " + table["level"] + " → " + table["other"]
    shown = table.assign(x=words, predictor=table["metric"])
    return _bars(shown, "rho", "What moves a ranking", y="Spearman's ρ")


def cost_bars(tables: Tables) -> Figure | None:
    """Draw the runs of the full grid next to those of one reference."""
    runs = {"full_runs": "every one", "reference_runs": "one reference"}
    shown = with_safe_words(tables["summary"].rename(columns=runs))
    figure = px.bar(
        shown,
        x="unit",
        y=list(runs.values()),
        barmode="group",
        log_y=True,
        text_auto=True,
        color_discrete_sequence=COLOURS,
    )
    return titled(figure, "Benchmark runs", x="reference", y="runs")


_FIGURES: MappingProxyType[str, Mapping[str, Callable[[Tables], Figure | None]]] = MappingProxyType(
    {
        "frm": {"frm_heat_map": frm_heat_map, "accuracy_frm": accuracy_frm},
        "disagreement": {"by_model": disagreement_bars, "ranks_gained": disagreement_slopes},
        "transfer": {
            "sides": transfer_bars,
            "concordance": concordance_lines,
            "matrix_frm": matrix_frm,
            "matrix_latency": matrix_latency,
        },
        "stability": {"metrics": stability_bars, "pairs": stability_pairs},
        "interaction": {"latency_ratios": interaction_dumbbells},
        "pareto": {"transferred": pareto_bars},
        "failures": {"by_family": failure_bars, "flips": flip_bars},
        "sensitivity": {"axes": sensitivity_bars},
        "cost": {"runs": cost_bars},
        "paper": {},
    }
)


def _bars(table: pd.DataFrame, value: str, title: str, *, y: str) -> Figure:
    """Draw the column `value` of each `x`, one bar per `predictor`, with the interval from `low` to `high`."""
    shown = _in_words(table.assign(above=table["high"] - table[value], below=table[value] - table["low"]), "predictor")
    figure = px.bar(
        shown,
        x="x",
        y=value,
        color="predictor",
        error_y="above",
        error_y_minus="below",
        barmode="group",
        color_discrete_sequence=COLOURS,
    )
    return titled(figure, title, x="", y=y)


def _matrix(table: pd.DataFrame, title: str) -> Figure | None:
    square = table.set_index("device")
    if len(square) < 2 or square.isna().all(axis=None):
        return None
    order = _alike_side_by_side(square.to_numpy(dtype=np.float64))
    return _heat_map(square.iloc[order, order], title, x="device", y="device")


def _heat_map(
    grid: pd.DataFrame, title: str, *, x: str, y: str, centre: float | None = None, colours: str = "Viridis"
) -> Figure:
    figure = px.imshow(
        grid.to_numpy(),
        x=_safe(grid.columns),
        y=_safe(grid.index),
        aspect="auto",
        origin="lower",
        color_continuous_midpoint=centre,
        color_continuous_scale=colours if centre is None else "RdBu_r",
    )
    figure.update_traces(hovertemplate=_HOVER.format("z:.3f"))
    figure.update_layout(height=max(450, 14 * len(grid)))
    return titled(figure, title, x=x, y=y)


def _by_configuration(board: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return a column of the leaderboard by configuration and model, with the models in the order of their FRM."""
    grid = board.pivot_table(index="configuration", columns="model", values=value, aggfunc="first")
    return grid[board.groupby("model")["frm"].median().sort_values().index]


def _alike_side_by_side(similarity: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[int]:
    """Return an order in which each device is followed by the most similar of the remaining ones."""
    filled = np.nan_to_num(similarity, nan=-1.0)
    order = [int(np.argmin(filled.mean(axis=0)))]
    left = set(range(len(filled))) - set(order)
    while left:
        following = max(sorted(left), key=lambda index: filled[order[-1], index])
        order.append(following)
        left.remove(following)
    return order


def _in_words(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a table for plotly with display names in `column`."""
    return with_safe_words(table.assign(**{column: table[column].map(_word)}))


def _word(name: object) -> str:
    return _WORDS.get(str(name), str(name))


def _safe(names: pd.Index) -> list[str]:
    return [html_text(str(name), longest=LONGEST) for name in names]
