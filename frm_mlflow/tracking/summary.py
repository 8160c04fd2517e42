"""Summary of a parent run's children: a description, tables and figures, saved and sent like every result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_RUN_NOTE

from frm_mlflow import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Tables = Mapping[str, pd.DataFrame]
Figures = Mapping[str, "Figure"]
NO_TABLES: Tables = MappingProxyType({})
NO_FIGURES: Figures = MappingProxyType({})


@dataclass(frozen=True)
class Summary:
    """A description in Markdown, tables and figures by path without a suffix, and additional metrics and tags."""

    description: str = ""
    tables: Tables = field(default_factory=lambda: NO_TABLES)
    figures: Figures = field(default_factory=lambda: NO_FIGURES)
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    words: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def texts(self) -> dict[str, str]:
        """Every file by its name: tables as JSON (which the UI shows) and CSV, figures as self-contained HTML."""
        files = {}
        for path, frame in self.tables.items():
            files[f"{path}.json"] = frame.to_json(orient="split", index=False)
            files[f"{path}.csv"] = escape.csv_text(frame)
        for path, figure in self.figures.items():
            files[f"{path}.html"] = figure.to_html(include_plotlyjs=True, full_html=True)
        return files

    def tags(self) -> dict[str, str]:
        """Return the tags: the description, the files that the UI shows as tables, and the additional tags."""
        shown = [{"path": f"{path}.json", "type": "table"} for path in self.tables]
        tags = {MLFLOW_RUN_NOTE: self.description, MLFLOW_LOGGED_ARTIFACTS: json.dumps(shown) if shown else ""}
        return {key: value for key, value in tags.items() if value} | dict(self.words)


NO_SUMMARY = Summary()
