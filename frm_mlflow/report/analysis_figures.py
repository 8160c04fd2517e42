"""Figures of the nine analyses, drawn from their tables; only values in a table are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from frm_mlflow.report.figures import Figure, colour, titled

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
    grid = board.pivot_table(index="configuration", columns="model", values="frm", aggfunc="first")
    grid = grid[board.groupby("model")["frm"].median().sort_values().index]
    shown = grid.head(_HEAT_ROWS)
    cut = f", first {_HEAT_ROWS} of {len(grid)} configurations" if len(grid) > _HEAT_ROWS else ""
    return _heat_map(shown.map(np.log2), f"log2 FRM{cut}", x="model", y="configuration", centre=0.0, text=shown)


def accuracy_frm(tables: Tables) -> Figure | None:
    """Draw accuracy against FRM for every benchmark, coloured by tier; frontier members are filled."""
    board = tables["leaderboard"].dropna(subset=["frm", "top1"])
    if board.empty:
        return None
    figure = go.Figure()
    for index, (tier, rows) in enumerate(board.groupby("tier", sort=True)):
        words = _escaped(rows["model"] + " · " + rows["configuration"])
        symbols = np.where(rows["frontier"], "circle", "circle-open")
        figure.add_trace(
            go.Scatter(
                x=rows["frm"],
                y=rows["top1"],
                mode="markers",
                name=escape(str(tier)),
                text=words,
                marker={"color": colour(index), "symbol": symbols, "size": 7},
                hovertemplate="%{text}<br>FRM %{x:.3f} · top-1 %{y:.1f} %<extra></extra>",
            )
        )
    figure.update_xaxes(type="log")
    return titled(
        figure, "Accuracy against FRM (filled: on its configuration's frontier)", x="FRM (baseline = 1)", y="top-1 (%)"
    )


def disagreement_bars(tables: Tables) -> Figure | None:
    """Draw how many cases promote and penalise each model."""
    table = tables["by_model"][tables["by_model"]["cases"] > 0]
    if table.empty:
        return None
    figure = go.Figure()
    penalised = table["cases"] - table["promoted"]
    for index, (name, values) in enumerate((("promoted by FRM", table["promoted"]), ("penalised by FRM", penalised))):
        figure.add_trace(go.Bar(x=_escaped(table["model"]), y=values, name=name, marker_color=colour(index)))
    figure.update_layout(barmode="stack")
    return titled(figure, "Where FLOPs and FRM disagree", x="model", y="configurations")


def disagreement_slopes(tables: Tables) -> Figure | None:
    """Draw mean ranks gained by family, and the size of each disagreement by model."""
    cases = tables["cases"]
    if cases.empty:
        return None
    figure = go.Figure()
    for index, (family, rows) in enumerate(cases.groupby("family", sort=True)):
        figure.add_trace(
            go.Box(x=_escaped(rows["model"]), y=rows["ranks_gained"], name=_word(family), marker_color=colour(index))
        )
    return titled(figure, "Ranks gained from FLOPs to FRM, where they disagree", x="model", y="ranks gained")


def transfer_bars(tables: Tables) -> Figure | None:
    """Draw how well each predictor transfers FRM and latency ranks between sides, with the shuffled control."""
    if tables["sides"].empty:
        return None
    measured = tables["sides"].rename(columns={"rho": "mean"})
    table = pd.concat([measured, tables["sides_shuffled"]], ignore_index=True)
    own = table["predicts"].eq("itself")
    table = table.assign(predicts=table["predicts"].where(~own, table["predictor"].replace("frm_shuffled", "itself")))
    table = table[table["predicts"].isin(["frm", "latency"])]
    words = table["source"] + " → " + table["target"] + ": " + table["predicts"] + " ranks"
    return _grouped_bars(table.assign(x=words), "mean", "Rank transfer", y="Spearman's ρ")


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
    figure = go.Figure()
    for index, ((direction, predictor), rows) in enumerate(shown.groupby(["direction", "predictor"], sort=False)):
        figure.add_trace(
            go.Scatter(
                x=rows["band"],
                y=rows["right"],
                mode="lines+markers",
                name=f"{escape(str(direction))}, by {_word(predictor)}",
                line={"color": colour(index // 3), "dash": ("solid", "dash", "dot")[index % 3]},
            )
        )
    figure.add_hline(y=0.5, line_dash="dot", line_color="#888888")
    return titled(
        figure,
        "Right decisions between two models",
        x="latency ratio of the two on the target",
        y="share of right decisions",
    )


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
    figure = go.Figure(
        go.Bar(x=table["metric"].map(_word), y=table["mean"], error_y=_errors(table, "mean"), marker_color=colour(0))
    )
    return titled(figure, "Rank stability between configurations", x="metric", y="Spearman's ρ")


def stability_pairs(tables: Tables) -> Figure | None:
    """Draw the distribution of the pairs' rank correlations."""
    table = tables["pairs"]
    figure = go.Figure()
    for index, name in enumerate(("frm", "latency", "memory", "accuracy")):
        if table[name].sum():
            shares = table[name] / table[name].sum()
            middle = (table["rho_from"] + table["rho_to"]) / 2
            figure.add_trace(
                go.Scatter(
                    x=middle, y=shares, mode="lines", name=_word(name), line={"color": colour(index), "shape": "hvh"}
                )
            )
    return (
        titled(figure, "Rank correlations of pairs of configurations", x="Spearman's ρ", y="share of pairs")
        if figure.data
        else None
    )


def interaction_dumbbells(tables: Tables) -> Figure | None:
    """Draw each model's median latency ratio on two sides, with chips counted once."""
    table = tables["tests"][tables["tests"]["unit"] == "chip"].dropna(subset=["ratio", "ratio_other"])
    if table.empty:
        return None
    table = table.assign(label=table["model"] + " · " + table["side"] + " / " + table["other"])
    figure = go.Figure()
    for row in table.to_dict("records"):
        ends = {"x": [row["ratio"], row["ratio_other"]], "y": [escape(row["label"])] * 2}
        figure.add_trace(
            go.Scatter(**ends, mode="lines", line={"color": "#bbbbbb"}, showlegend=False, hoverinfo="skip")
        )
    for index, name in enumerate(sorted({*table["side"], *table["other"]})):
        for end, column in (("side", "ratio"), ("other", "ratio_other")):
            rows = table[table[end] == name]
            if len(rows):
                figure.add_trace(
                    go.Scatter(
                        x=rows[column],
                        y=_escaped(rows["label"]),
                        mode="markers",
                        marker={"color": colour(index), "size": 9},
                        name=escape(name),
                        legendgroup=name,
                        showlegend=end == "side" or name not in set(table["side"]),
                    )
                )
    figure.update_xaxes(type="log")
    figure.update_layout(height=max(400, 22 * len(table)))
    return titled(figure, "Latency ratio to the baseline (median of chips)", x="latency ratio", y="")


def pareto_bars(tables: Tables) -> Figure | None:
    """Draw the F1 of transferred frontiers by predictor, with the shuffled control."""
    if tables["sides"].empty:
        return None
    table = pd.concat([tables["sides"].rename(columns={"f1": "mean"}), tables["shuffled"]], ignore_index=True)
    words = table["source"] + " → " + table["target"] + ": accuracy-" + table["objective"]
    return _grouped_bars(table.assign(x=words), "mean", "Transferred frontiers", y="F1")


def failure_bars(tables: Tables) -> Figure | None:
    """Draw the failure rate by family, for each pair of sides and frontier."""
    table = tables["by_family"].dropna(subset=["failure_rate"])
    if table.empty:
        return None
    words = table["source"] + " → " + table["target"] + ": accuracy-" + table["objective"]
    grouped = table.assign(x=words, predictor=table["family"])
    return _grouped_bars(grouped, "failure_rate", "Wrong frontier membership by family", y="share of cases")


def flip_bars(tables: Tables) -> Figure | None:
    """Draw the pairs of models whose latency order flips most often."""
    table = tables["flips"]
    table = (
        table[table["metric"] == "latency"].sort_values("flipped", ascending=False, kind="stable").head(_FLIPS_SHOWN)
    )
    if table.empty:
        return None
    words = table["looked_cheaper"] + " / " + table["is_cheaper"] + " · " + table["source"] + " → " + table["target"]
    hover = [f"here {a:.2f}×, there {b:.2f}×" for a, b in zip(table["factor_here"], table["factor_there"], strict=True)]
    figure = go.Figure(
        go.Bar(x=table["flipped"], y=_escaped(words), orientation="h", text=hover, marker_color=colour(1))
    )
    figure.update_layout(height=max(400, 26 * len(table)), yaxis={"autorange": "reversed"})
    return titled(figure, "Pairs whose latency order flips", x="share of the target's configurations", y="")


def sensitivity_bars(tables: Tables) -> Figure | None:
    """Draw the rank correlation along each axis."""
    table = tables["axes"].dropna(subset=["rho"])
    if table.empty:
        return None
    words = table["axis"] + " " + table["level"] + " → " + table["other"]
    return _grouped_bars(
        table.assign(x=words, predictor=table["metric"]), "rho", "What moves a ranking", y="Spearman's ρ"
    )


def cost_bars(tables: Tables) -> Figure | None:
    """Draw the runs of the full grid against those of one reference."""
    table = tables["summary"]
    figure = go.Figure()
    for index, (column, name) in enumerate((("full_runs", "every one"), ("reference_runs", "one reference"))):
        figure.add_trace(
            go.Bar(x=table["unit"], y=table[column], name=name, text=table[column], marker_color=colour(index))
        )
    figure.update_yaxes(type="log")
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


def _grouped_bars(table: pd.DataFrame, value: str, title: str, *, y: str) -> Figure:
    figure = go.Figure()
    for index, (name, rows) in enumerate(table.groupby("predictor", sort=False)):
        figure.add_trace(
            go.Bar(
                x=_escaped(rows["x"]),
                y=rows[value],
                error_y=_errors(rows, value),
                name=_word(name),
                marker_color=colour(index),
            )
        )
    figure.update_layout(barmode="group")
    return titled(figure, title, x="", y=y)


def _errors(rows: pd.DataFrame, value: str) -> dict[str, object]:
    above, below = rows["high"] - rows[value], rows[value] - rows["low"]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below}


def _matrix(table: pd.DataFrame, title: str) -> Figure | None:
    square = table.set_index("device")
    if len(square) < 2 or square.isna().all(axis=None):
        return None
    order = _alike_side_by_side(square.to_numpy(dtype=np.float64))
    return _heat_map(square.iloc[order, order], title, x="device", y="device", centre=None, text=None)


def _heat_map(
    grid: pd.DataFrame, title: str, *, x: str, y: str, centre: float | None, text: pd.DataFrame | None
) -> Figure:
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(),
            x=_escaped(grid.columns),
            y=_escaped(grid.index),
            zmid=centre,
            colorscale="RdBu_r" if centre is not None else "Viridis",
            text=None if text is None else text.round(3).to_numpy(),
            hovertemplate="%{y}<br>%{x}: %{" + ("text" if text is not None else "z:.3f") + "}<extra></extra>",
        )
    )
    figure.update_layout(height=max(450, 14 * len(grid)))
    return titled(figure, title, x=x, y=y)


def _alike_side_by_side(similarity: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[int]:
    """Return an order in which each device is followed by the most similar of the remaining ones."""
    known = np.nan_to_num(similarity, nan=-1.0)
    order = [int(np.argmin(known.mean(axis=0)))]
    left = set(range(len(known))) - set(order)
    while left:
        following = max(sorted(left), key=lambda index: known[order[-1], index])
        order.append(following)
        left.remove(following)
    return order


def _word(name: object) -> str:
    return _WORDS.get(str(name), escape(str(name)))


def _escaped(words: pd.Series | pd.Index) -> list[str]:
    return [escape(str(word)) for word in words]
