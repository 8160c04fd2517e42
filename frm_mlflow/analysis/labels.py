"""Short names for configurations: the usual name, with more detail only if that is ambiguous."""

from __future__ import annotations

import pandas as pd

from frm_mlflow.schema import COMPUTE_UNIT, CONFIGURATION_COLUMNS, DEVICE, PRECISION, RUNTIME

_ALWAYS = tuple(tag.column for tag in (DEVICE, RUNTIME, PRECISION, COMPUTE_UNIT))


def configuration_labels(words: pd.DataFrame) -> list[str]:
    """Return one label per row of `words`, whose columns include those of a configuration, as strings.

    Device, runtime, precision and compute unit are always included. Any other column is included only
    if two rows that agree in those four differ in it.
    """
    shown = list(_ALWAYS)
    for extra in (name for name in words.columns if name not in _ALWAYS):
        if len(words) > 1 and words.groupby(shown)[extra].nunique().gt(1).any():
            shown.append(extra)
    ordered = [name for name in words.columns if name in shown]
    return [" · ".join(part for part in row if part) for row in words[ordered].itertuples(index=False)]


def words_of(frame: pd.DataFrame, columns: tuple[str, ...] = CONFIGURATION_COLUMNS) -> pd.DataFrame:
    """Return the named columns as strings; missing values become the empty string."""
    return frame.reindex(columns=list(columns)).astype("string").fillna("")
