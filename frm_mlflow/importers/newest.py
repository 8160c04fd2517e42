"""Of several versions of one source, the newest counts: the rule, on a tidy frame."""

from __future__ import annotations

import pandas as pd

from frm_mlflow import schema


def newest(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the rows that no newer version of their source supersedes, and how many are superseded.

    Rows of one series (`frm.series`: the same benchmark in the source's own terms) differ by the
    source's version only; of these the newest date counts. Rows without a series (measured here)
    always count. Superseded runs stay on the server: this is a view.

    Parameters
    ----------
    frame
        A tidy frame (`schema.FRAME_COLUMNS`); it is not changed.
    """
    series = frame[schema.SERIES.column]
    latest = frame.groupby(series)["start_time"].transform("max")
    counts = (series == "") | (frame["start_time"] == latest)
    return frame[counts].reset_index(drop=True), int((~counts).sum())
