"""Figures that only the report page has: a heat map of ranks next to that of the ratios."""

from __future__ import annotations

from html import escape

import pandas as pd
import plotly.graph_objects as go

from frm_mlflow.report.figures import Figure, titled

_MOST_ROWS = 80


def rank_heat_map(board: pd.DataFrame) -> Figure | None:
    """Return each model's rank by FRM on each configuration, from the `frm` analysis's leaderboard."""
    ranked = board.dropna(subset=["rank"])
    if ranked.empty:
        return None
    grid = ranked.pivot_table(index="configuration", columns="model", values="rank", aggfunc="first")
    grid = grid[ranked.groupby("model")["frm"].median().sort_values().index].head(_MOST_ROWS)
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(),
            x=[escape(name) for name in grid.columns],
            y=[escape(name) for name in grid.index],
            colorscale="Cividis_r",
            colorbar={"title": "place"},
            hovertemplate="%{y}<br>%{x}: place %{z:.0f}<extra></extra>",
        )
    )
    figure.update_layout(height=max(450, 14 * len(grid)))
    return titled(figure, "Place by FRM on each configuration (1 is the cheapest)", x="model", y="configuration")
