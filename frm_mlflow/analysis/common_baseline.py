"""FRM against one baseline for all precisions of a device, so that int8 and fp32 rows can be compared directly.

Within a configuration, FRM is relative to the baseline in that configuration's precision: int8 ResNet-50 is 1, and
so is fp32 ResNet-50. Here both are relative to the baseline in the widest precision available for the device,
runtime and compute unit, which is fp32 if it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.analysis.frm import FRM_COMPONENTS, positive
from frm_mlflow.analysis.rows import KEY_COLUMNS, level_order, words_of
from frm_mlflow.schema import ENERGY, FRM, LATENCY_P50, MEMORY_PEAK, MODEL, PRECISION

FRM_COMMON, COMMON_BASELINE = "frm_common", "common_baseline"
"""Columns: FRM against the common baseline, and the name of that baseline (`resnet50 · fp32`)."""

_COSTS = {"latency": LATENCY_P50.column, "memory": MEMORY_PEAK.column, "energy": ENERGY.column}


def against_common_baseline(
    rows: pd.DataFrame, *, baseline: str, components: Sequence[str] = FRM_COMPONENTS
) -> pd.DataFrame:
    """Return `frm_common` and `common_baseline` of each row; NaN and "" if no common baseline was measured.

    `rows` are benchmarks with the columns of a configuration, a model, `frm` and its costs, with each model once per
    configuration. FRM is multiplied by one constant per configuration: the baseline's costs there divided by its costs
    in the widest precision. The order within a configuration therefore does not change.
    """
    words = words_of(rows, KEY_COLUMNS)
    configuration = words.groupby(list(KEY_COLUMNS), sort=False).ngroup().to_numpy()
    is_baseline = (rows[MODEL.column] == baseline).to_numpy()
    costs = _baseline_costs(rows, components)
    of_baseline = {int(at): place for place, at in enumerate(configuration) if is_baseline[place]}
    others = [name for name in KEY_COLUMNS if name != PRECISION.column]
    frm = np.full(len(rows), np.nan)
    names = np.full(len(rows), "", dtype=object)
    precision = words[PRECISION.column].to_numpy(dtype=object)
    for places in words.groupby(others, sort=False).indices.values():
        complete = [at for at in places if is_baseline[at] and np.isfinite(costs[at]).all()]
        if not complete:
            continue
        widest = min(complete, key=lambda at: level_order(str(precision[at])))
        for place in places:
            place_of_baseline = of_baseline.get(int(configuration[place]))
            if place_of_baseline is not None and np.isfinite(costs[place_of_baseline]).all():
                factor = np.exp((costs[place_of_baseline] - costs[widest]).sum() / len(components))
                frm[place] = rows[FRM.column].iloc[place] * factor
                names[place] = f"{baseline} · {precision[widest]}"
    return pd.DataFrame({FRM_COMMON: frm, COMMON_BASELINE: names}, index=rows.index)


def _baseline_costs(rows: pd.DataFrame, components: Sequence[str]) -> Floats:
    """Return the logarithms of the costs that differ between precisions; FLOPs are the same in all."""
    columns = [_COSTS[name] for name in components if name in _COSTS]
    values = rows.reindex(columns=columns).to_numpy(dtype=np.float64)
    return np.log(positive(values)).reshape(len(rows), len(columns))
