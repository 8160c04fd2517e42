"""Facts about a model, one value each: accuracy, parameters and operations for one input.

Sources differ: for ResNet-50, torchvision publishes 80.9 % with its newer weights and AI Hub 76.1 % with the older
ones. Neither number depends on the hardware, so an analysis uses one of them on every device
(docs/adr/0017). The rule, for each model and input size:

1. Published accuracy takes precedence over measured accuracy, because it is based on more images. For a quantised
   network it is the reverse: only accuracy measured in that precision describes the network. Operations and
   parameters that were counted on the network take precedence over the rounded ones of a catalogue.
2. Of those, the most common value is used, or the lower median of several equally common ones.

A row without a value stays without one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from frm_mlflow.schema import (
    ACCURACY_SOURCE,
    ACTIVATIONS_M,
    FLOPS_SOURCE,
    GMACS,
    INPUT_SIZE,
    MODEL,
    PARAMS_M,
    PRECISION,
    RESOLUTION,
    TOP1,
    TOP1_DEVICE,
    TOP1_HIGH,
    TOP1_LOW,
)

FLOAT_PRECISIONS: tuple[str, ...] = ("", "unknown", "fp32", "tf32", "bf16", "fp16", "float")
"""Precisions whose accuracy is that of the published weights; an unknown precision is not taken for a quantised one."""
MEASURED = "measured"
"""First word of `frm.accuracy_source` when the accuracy was measured on the benchmarked model itself."""
COUNTED = "counted"
"""Value of `frm.flops_source` when the FLOPs were counted on the network itself."""
OWN, FLOAT = "own", "float"
BORROWED = "borrowed"
"""Rows whose accuracy is not used because it belongs to the float network."""
QUANTISED_ACCURACY: tuple[str, ...] = (OWN, FLOAT)
"""Accuracy of a quantised network: measured in its precision, or the published accuracy of the float network."""

_COUNTED = (GMACS.column, PARAMS_M.column, ACTIVATIONS_M.column)
_INTERVAL = (TOP1_LOW.column, TOP1_HIGH.column)


def is_quantised(precision: pd.Series) -> pd.Series:
    """Return a mask of the rows that ran in integer arithmetic, wholly or partly."""
    return ~precision.astype(str).isin(FLOAT_PRECISIONS)


def own_accuracy(rows: pd.DataFrame, *, quantised: str = OWN) -> pd.Series:
    """Return each row's top-1 accuracy, NaN for a quantised network that only has the float network's accuracy.

    With `quantised="float"`, quantised networks get the published accuracy instead.
    """
    top1 = rows[TOP1.column]
    if quantised == FLOAT:
        return top1
    borrowed = is_quantised(rows[PRECISION.column]) & ~_is_measured(rows)
    return top1.where(~borrowed, rows[TOP1_DEVICE.column])


def one_per_model(rows: pd.DataFrame, *, quantised: str = OWN) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Return the rows with one value per model for each fact, and a mask per fact of the rows whose value was replaced.

    `rows` is tidy. If an accuracy is replaced, its interval is removed.
    """
    models = [rows[MODEL.column], rows[RESOLUTION.column], rows[INPUT_SIZE.column].fillna(0)]
    accuracy = own_accuracy(rows, quantised=quantised)
    separate = is_quantised(rows[PRECISION.column]) & (quantised == OWN)
    networks = [rows[MODEL.column], rows[RESOLUTION.column], rows[PRECISION.column].where(separate, "float")]
    preferred = separate | ~_is_measured(rows)
    changes = {TOP1.column: _usual(accuracy, networks, preferred)}
    counted = rows[FLOPS_SOURCE.column] == COUNTED
    changes |= {name: _usual(rows[name], models, counted) for name in _COUNTED}
    before = {name: accuracy if name == TOP1.column else rows[name] for name in changes}
    replaced = {name: before[name].notna() & (before[name] != value) for name, value in changes.items()}
    gone = replaced[TOP1.column] | changes[TOP1.column].isna()
    interval = {name: rows[name].mask(gone) for name in _INTERVAL}
    borrowed = rows[TOP1.column].notna() & accuracy.isna()
    return rows.assign(**changes, **interval), {**replaced, BORROWED: borrowed}


def replaced_values(before: pd.DataFrame, after: pd.DataFrame, replaced: pd.Series, fact: str) -> str:
    """Return which models had a different value for a fact, as text: `resnet50: 80.9 → 76.1 (12)`."""
    table = pd.DataFrame({"model": before[MODEL.column], "was": before[fact], "is": after[fact]})[replaced]
    counts = table.groupby(["model", "was", "is"], sort=True).size().reset_index(name="rows")
    columns = (counts[name].tolist() for name in ("model", "was", "is", "rows"))
    return "; ".join(f"{model}: {was:.4g} → {now:.4g} ({rows})" for model, was, now, rows in zip(*columns, strict=True))


def _is_measured(rows: pd.DataFrame) -> pd.Series:
    return rows[ACCURACY_SOURCE.column].astype(str).str.startswith(MEASURED)


def _usual(values: pd.Series, keys: list[pd.Series], preferred: pd.Series | None = None) -> pd.Series:
    """Return the most common value of each row's group, NaN for rows that have no value."""
    finite = values[np.isfinite(values)]
    if finite.empty:
        return pd.Series(np.nan, index=values.index)
    group = pd.DataFrame(dict(enumerate(keys))).groupby(list(range(len(keys)))).ngroup()
    table = pd.DataFrame({"group": group[finite.index], "value": finite})
    if preferred is not None:
        best = preferred[finite.index]
        table = table[best | ~best.groupby(table["group"]).transform("any")]
    counts = table.groupby(["group", "value"], sort=True).size().rename("count").reset_index()
    top = counts[counts["count"] == counts.groupby("group")["count"].transform("max")]
    place, size = top.groupby("group").cumcount(), top.groupby("group")["value"].transform("size")
    usual = top[place == (size - 1) // 2].set_index("group")["value"]
    return group.map(usual).where(np.isfinite(values))
