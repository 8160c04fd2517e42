"""The benchmarks of some experiments, prepared once for each version of the data.

Page requests then only select rows: changing a filter does not read any run or recompute
any configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frm_mlflow.analysis.common_baseline import COMMON_BASELINE, FRM_COMMON, against_common_baseline
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import KEY_COLUMNS, LeftOut, configuration_labels, usable_rows
from frm_mlflow.records import content_hash
from frm_mlflow.report.board import CommonBaseline, count
from frm_mlflow.schema import DEVICE, FRM, MODEL, PRECISION, SOURCE, SOURCE_MEASURED, TIER

Positions: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """One version of the data.

    `rows` are the usable benchmarks, each model once per configuration. `configurations` has one row
    per configuration: the columns of `KEY_COLUMNS`, `tier`, `source`, `label`, `models` and,
    as its index, a key that stays the same when more benchmarks arrive.
    """

    digest: str
    rows: pd.DataFrame
    configurations: pd.DataFrame
    positions: dict[str, Positions]
    left_out: tuple[LeftOut, ...]

    def benchmarks(self, key: str) -> pd.DataFrame:
        """Return the benchmarks of one configuration, sorted by model."""
        return self.rows.iloc[self.positions[key]]

    def counts(self) -> str:
        """Return the size of the snapshot as text, which both the page and the report show."""
        measured = int((self.rows[SOURCE.column] == SOURCE_MEASURED).sum())
        return (
            f"{count(len(self.rows), 'benchmark')} ({measured} measured here, {len(self.rows) - measured} imported) of "
            f"{count(self.rows[MODEL.column].nunique(), 'model')} on "
            f"{count(len(self.configurations), 'configuration')} and "
            f"{count(self.rows[DEVICE.column].nunique(), 'device')}"
        )

    def common_baselines(self, baseline: str) -> dict[str, CommonBaseline]:
        """Return the baseline in the device's widest precision for each configuration except those already in it."""
        is_baseline = (self.rows[MODEL.column] == baseline).to_numpy()
        places = {
            key: int(index[is_baseline[index]][0]) for key, index in self.positions.items() if is_baseline[index].any()
        }
        rows = self.rows.iloc[list(places.values())].assign(**{FRM.column: 1.0})
        table = against_common_baseline(rows, baseline=baseline).assign(precision=rows[PRECISION.column])
        baselines = zip(places, table[FRM_COMMON], table[COMMON_BASELINE], table["precision"], strict=True)
        return {
            key: CommonBaseline(factor=float(factor), name=str(name))
            for key, factor, name, precision in baselines
            if name and name != f"{baseline} · {precision}"
        }


def prepare(frame: pd.DataFrame, *, digest: str) -> Snapshot:
    """Return the snapshot of a tidy frame.

    Devices that republish a sibling's job keep their rows, because users look for a
    device by its name on the page, and nothing is averaged over devices.
    """
    rows, left_out = usable_rows(frame, AnalysisOptions(count_duplicates=True))
    rows = rows.iloc[np.argsort(rows[MODEL.column].to_numpy(dtype=str), kind="stable")]
    group = rows.groupby(list(KEY_COLUMNS), sort=True).ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(rows) else []
    first = rows[list(KEY_COLUMNS)].iloc[[int(index[0]) for index in parts]]
    keys = {content_hash(words)[:10]: index for words, index in zip(first.to_numpy().tolist(), parts, strict=True)}
    return Snapshot(
        digest=digest,
        rows=rows,
        configurations=_table(rows, keys),
        positions=keys,
        left_out=tuple(left_out),
    )


def _table(rows: pd.DataFrame, keys: dict[str, Positions]) -> pd.DataFrame:
    first = [int(index[0]) for index in keys.values()]
    table = rows.iloc[first][[*KEY_COLUMNS, TIER.column, SOURCE.column]]
    return table.assign(
        label=configuration_labels(table[list(KEY_COLUMNS)]), models=[len(index) for index in keys.values()]
    ).set_axis(list(keys), axis="index")
