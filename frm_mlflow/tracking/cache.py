"""A server's ended benchmark runs cached on disk, updated incrementally instead of read again.

One Parquet file holds the runs of one selection. It is replaced as a whole, under a lock. A
refresh asks the server only for what may have changed:

1. runs that ended, or were written to by frm-mlflow, after the newest cached run;
2. the trash: deleted runs are removed, restored runs are added again;
3. whether the number of runs agrees and, if not, in which span of end times it differs (runs that
   were purged, or logged with an end in the past);
4. some cached runs, the least recently checked first, in case they were changed by hand.

Steps 1 to 3 find every run that was added or removed. A run whose values were changed by other software
without ending it again is found by step 4: immediately if there are at most `RECHECKED` runs, otherwise within
(number of runs / `RECHECKED`) refreshes. `docs/adr/0014` discusses the trade-off.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from frm_mlflow import schema
from frm_mlflow.folders import cache_folder
from frm_mlflow.frame import tidy
from frm_mlflow.records import content_hash
from frm_mlflow.tracking.pages import NOT_FINITE, Row, Selection, counts, pages, together

FORMAT = 1
CHECKED = "checked_s"
"""Additional column of a cached run: when it was read, in seconds since the epoch."""
RECHECKED = 200
"""Number of cached runs that one refresh reads again."""
LEAF = 200
"""If the count of a span of end times is wrong and it has at most this many cached runs, it is read as a whole."""
OVERLAP_S = 2.0
"""Writers' clocks may differ by this much before a write-back is missed."""
IDS_PER_REQUEST = 100
IDS_PER_STATEMENT = 400
DELETED_KEY = b"frm_mlflow_deleted"

OnProgress = Callable[[int], None]
"""Called with the number of runs read so far."""
Direct = Callable[[Sequence[str] | None], Iterable[Row]]
"""Reads the runs of a selection that have these ids, or all of its runs."""


@dataclass(frozen=True)
class Runs:
    """Ended runs as a tidy frame with `NOT_FINITE` and `CHECKED`, one row per run id, and the known deleted runs."""

    frame: pd.DataFrame
    deleted: frozenset[str] = frozenset()

    def with_rows(self, fresh: pd.DataFrame) -> Runs:
        """Return the runs with those of `fresh` added or replaced."""
        if fresh.empty:
            return self
        kept = self.without(fresh["run_id"]).frame
        return replace(self, frame=fresh if kept.empty else pd.concat([kept, fresh], ignore_index=True))

    def without(self, run_ids: Iterable[str]) -> Runs:
        """Return the runs without these."""
        gone = self.frame["run_id"].isin(set(run_ids))
        return replace(self, frame=self.frame[~gone].reset_index(drop=True)) if gone.any() else self


def frame_of(rows: Iterable[Row], *, now_s: float) -> pd.DataFrame:
    """Return rows of `tracking.pages` as a tidy frame with `NOT_FINITE` and `CHECKED`, one row per run id."""
    kept = list(rows)
    return _frame_of(kept, now_s) if kept else _no_rows().copy()


@cache
def _no_rows() -> pd.DataFrame:
    """Return an empty frame: a refresh that finds nothing new needs several."""
    return _frame_of([], 0.0)


def _frame_of(rows: list[Row], now_s: float) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[*schema.FRAME_COLUMNS, NOT_FINITE])
    table = table.drop_duplicates("run_id", keep="last", ignore_index=True)
    for column in ("start_time", "end_time"):
        table[column] = pd.to_datetime(table[column].astype("Int64"), unit="ms", utc=True)
    result = tidy(table)
    result[NOT_FINITE] = table[NOT_FINITE].astype(str)
    result[CHECKED] = now_s
    return result


def refreshed(
    selection: Selection,
    *,
    folder: Path | None = None,
    clock: Callable[[], float] = time.time,
    on_progress: OnProgress | None = None,
    direct: Direct | None = None,
) -> Runs:
    """Return the selected runs that have ended, as they are on the server now, and cache them in `folder`.

    Two processes that refresh the same runs take turns. A file that cannot be read is created again.

    Parameters
    ----------
    selection
        The runs to return; the first read takes about as long as MLflow's own search.
    folder
        Folder of the cache file; None uses `frm-mlflow/runs` in the user's cache folder.
    direct
        A faster way than the search to read the same runs; None uses the search.
    """
    path = file_of(selection, folder or cache_folder() / "runs")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        runs = refresh(load(path), selection, now_s=clock(), on_progress=on_progress, direct=direct)
        save(runs, path)
    return runs


def refresh(
    known: Runs | None,
    selection: Selection,
    *,
    now_s: float,
    on_progress: OnProgress | None = None,
    direct: Direct | None = None,
) -> Runs:
    """Return the current state of `known` on the server; None reads everything."""
    read = _Reader(selection.where("attributes.end_time > 0"), now_s, on_progress, direct)
    runs = _with_changes(known, read) if known else Runs(read.everything(), frozenset(read.trash()))
    runs = _repaired(runs, read, low=0, high=_newest_ms(runs))
    return _rechecked(runs, read)


_MOST_MONTHS = 3
"""After a longer time without a refresh, all runs that got a benchmark after their end are read again."""


@dataclass(frozen=True)
class _Reader:
    """Reads runs of one selection, all with the same timestamp."""

    selection: Selection
    now_s: float
    on_progress: OnProgress | None
    direct: Direct | None

    def everything(self) -> pd.DataFrame:
        return frame_of(self.direct(None), now_s=self.now_s) if self.direct else self.frame()

    def frame(self, *conditions: str) -> pd.DataFrame:
        rows: list[Row] = []
        for page in pages(self.selection.where(*conditions)):
            rows += page
            if self.on_progress and page:
                self.on_progress(len(rows))
        return frame_of(rows, now_s=self.now_s)

    def frame_of_ids(self, run_ids: Sequence[str]) -> pd.DataFrame:
        at_once = IDS_PER_STATEMENT if self.direct else IDS_PER_REQUEST
        chunks = (run_ids[at : at + at_once] for at in range(0, len(run_ids), at_once))
        frames = together(self.selection, *(partial(self._frame_of_few, chunk) for chunk in chunks))
        return pd.concat(frames, ignore_index=True) if frames else frame_of((), now_s=self.now_s)

    def _frame_of_few(self, run_ids: Sequence[str]) -> pd.DataFrame:
        if self.direct:
            return frame_of(self.direct(run_ids), now_s=self.now_s)
        quoted = ", ".join(f"'{run_id}'" for run_id in run_ids)
        return self.frame(f"attributes.run_id IN ({quoted})")

    def trash(self) -> list[str]:
        return [row["run_id"] for page in pages(self.selection, deleted=True) for row in page]

    def agrees(self, number: int, *conditions: str) -> bool:
        return counts(self.selection.where(*conditions), number)


def _with_changes(runs: Runs, read: _Reader) -> Runs:
    """Return the runs with those that have since ended, changed or been restored, and without the deleted ones."""
    written = runs.frame[schema.WRITTEN.column].max()
    written_s = 0.0 if pd.isna(written) else written - OVERLAP_S
    newer = (
        f"attributes.end_time > {_newest_ms(runs)}",
        f"metrics.`{schema.WRITTEN.key}` > {written_s}",
        *_attached_since(runs, now_s=read.now_s),
    )
    *changed, trash = together(read.selection, *(partial(read.frame, c) for c in newer), read.trash)
    deleted = frozenset(trash)
    restored = read.frame_of_ids(sorted(runs.deleted - deleted))
    present = runs
    for rows in changed:
        present = present.with_rows(rows)
    return replace(present.without(deleted).with_rows(restored), deleted=deleted)


def _attached_since(runs: Runs, *, now_s: float) -> tuple[str, ...]:
    """Return one filter per month in which runs got a benchmark after their end since the last refresh."""
    last_s = runs.frame[CHECKED].max()
    day_s = 86_400.0
    start_s = now_s - _MOST_MONTHS * 31 * day_s if pd.isna(last_s) else last_s - day_s
    if now_s - start_s >= _MOST_MONTHS * 31 * day_s:
        return (f"tags.`{schema.ATTACHED_ON.key}` LIKE '2%'",)
    days = np.arange(start_s, now_s + 2 * day_s, day_s)
    months = sorted({datetime.fromtimestamp(day, timezone.utc).strftime("%Y-%m") for day in days})
    return tuple(f"tags.`{schema.ATTACHED_ON.key}` LIKE '{month}%'" for month in months)


def _repaired(runs: Runs, read: _Reader, *, low: int, high: int) -> Runs:
    """Return the runs, with those that ended after `low` and until `high` (ms) as they are on the server."""
    ends = _end_ms(runs)
    inside = ends[(ends > low) & (ends <= high)]
    span = (f"attributes.end_time > {low}", f"attributes.end_time <= {high}")
    if read.agrees(len(inside), *span):
        return runs
    middle = int(inside.median()) if len(inside) > LEAF else high
    if middle >= high or len(inside) <= LEAF:
        return runs.without(runs.frame.loc[inside.index, "run_id"]).with_rows(read.frame(*span))
    return _repaired(_repaired(runs, read, low=low, high=middle), read, low=middle, high=high)


def _rechecked(runs: Runs, read: _Reader) -> Runs:
    older = runs.frame[runs.frame[CHECKED] < read.now_s]
    due = older.sort_values([CHECKED, "end_time"], ascending=[True, False])["run_id"].head(RECHECKED).tolist()
    return runs.without(due).with_rows(read.frame_of_ids(due))


def _end_ms(runs: Runs) -> pd.Series[int]:
    milliseconds: pd.Series[int] = runs.frame["end_time"].dt.as_unit("ms").astype("int64")
    return milliseconds


def _newest_ms(runs: Runs) -> int:
    return 0 if runs.frame.empty else int(_end_ms(runs).max())


def file_of(selection: Selection, folder: Path) -> Path:
    """Return the file that holds this selection's runs."""
    key = [FORMAT, selection.client.tracking_uri, selection.experiment_ids, selection.filter, schema.FRAME_COLUMNS]
    return folder / f"{content_hash(key)}.parquet"


def load(path: Path) -> Runs | None:
    """Return the runs in a file, or None if it does not exist or is broken."""
    try:
        table = pq.read_table(path)
        deleted = json.loads((table.schema.metadata or {}).get(DELETED_KEY, b"[]"))
        return Runs(table.to_pandas(), frozenset(deleted))
    except (OSError, ValueError, pa.ArrowException):  # Arrow raises all three on corrupted bytes
        return None


def save(runs: Runs, path: Path) -> None:
    """Replace the file as a whole; a reader gets either the old or the new version."""
    table = pa.Table.from_pandas(runs.frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), DELETED_KEY: json.dumps(sorted(runs.deleted)).encode()}
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    try:
        pq.write_table(table.replace_schema_metadata(metadata), name)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
