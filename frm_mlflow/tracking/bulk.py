"""Logging many records: the thousands of rows of an import, each logged exactly once.

A record costs three requests (create with all tags, one batch of metrics and params, end), and
several are in progress at once. A record that is already on the server costs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice

from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.tracking import rest
from frm_mlflow.tracking.entry import FINISHED, RunEntry, record_entry, written_now
from frm_mlflow.tracking.pages import Selection, pages, tag_is
from frm_mlflow.tracking.send import create, log_values
from frm_mlflow.tracking.server import ensure_experiment
from frm_mlflow.tracking.spool import SERVER_ERRORS

WORKERS = 4
CHUNK = 256
"""Records per batch; an interrupt takes effect after the current batch."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class BulkReport:
    """Result of `log_records`: runs added, records that were already logged, and records that could not be logged."""

    added: int
    present: int
    failures: tuple[tuple[str, str], ...] = ()
    """Record name and reason."""

    @property
    def failed(self) -> int:
        """How many records could not be logged; repeating the import logs them."""
        return len(self.failures)


def log_records(
    client: MlflowClient,
    experiment: str,
    records: Iterable[BenchmarkRecord],
    *,
    parent_run_id: str | None = None,
    workers: int = WORKERS,
    on_progress: OnProgress | None = None,
) -> BulkReport:
    """Log each record as a separate FINISHED run, unless the experiment already has it.

    An interrupted import continues where it stopped: finished records are skipped by their
    `frm.record_id`, and partly logged ones are completed. Records with the same id count as one.

    Parameters
    ----------
    parent_run_id
        Parent run of the new runs.
    workers
        Concurrent requests to a server; a database file has a single writer.
    on_progress
        Called with the number of records handled and the total.
    """
    experiment_id = ensure_experiment(client, experiment)
    by_id = {record.record_id: record for record in records}
    on_server = logged_records(client, experiment_id, sources=sorted({record.source for record in by_id.values()}))
    missing = [
        record for record_id, record in by_id.items() if not on_server.get(record_id, LoggedRecord("", "")).finished
    ]
    entries = (
        written_now(
            record_entry(
                record,
                tracking_uri=client.tracking_uri,
                experiment=experiment,
                run_id=on_server[record.record_id].run_id if record.record_id in on_server else None,
                parent_run_id=parent_run_id,
            )
        )
        for record in missing
    )
    present, failures = len(by_id) - len(missing), []
    with ThreadPoolExecutor(workers if rest.is_http(client.tracking_uri) else 1) as pool:
        for done, (entry, reason) in enumerate(_logged(pool, client, experiment_id, entries), start=1):
            if reason:
                failures.append((entry.name, reason))
            if on_progress:
                on_progress(present + done, len(by_id))
    return BulkReport(len(missing) - len(failures), present, tuple(failures))


@dataclass(frozen=True)
class LoggedRecord:
    """The run of a record on the server."""

    run_id: str
    status: str

    @property
    def finished(self) -> bool:
        """Whether the record is completely logged."""
        return self.status == FINISHED


def logged_records(client: MlflowClient, experiment_id: str, *, sources: Iterable[str]) -> dict[str, LoggedRecord]:
    """Return the run of every record of these sources by record id, preferring a finished run to an unfinished one."""
    on_server: dict[str, LoggedRecord] = {}
    for source in sources:
        conditions = (tag_is(schema.KIND.key, schema.KIND_BENCHMARK), tag_is(schema.SOURCE.key, source))
        for rows in pages(Selection(client, (experiment_id,), conditions)):
            for row in rows:
                record_id = row.get(schema.RECORD_ID.column, "")
                if not on_server.get(record_id, LoggedRecord("", "")).finished:
                    on_server[record_id] = LoggedRecord(row["run_id"], row["status"])
    return on_server


def _logged(
    pool: ThreadPoolExecutor, client: MlflowClient, experiment_id: str, entries: Iterator[RunEntry]
) -> Iterator[tuple[RunEntry, str]]:
    """Yield each entry once it is logged, with the reason if it could not be."""
    while chunk := list(islice(entries, CHUNK)):
        futures: dict[Future[None], RunEntry] = {pool.submit(_log, client, experiment_id, e): e for e in chunk}
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, SERVER_ERRORS):
                raise error
            yield futures[future], str(error) if error else ""


def _log(client: MlflowClient, experiment_id: str, entry: RunEntry) -> None:
    run_id = entry.run_id or create(client, experiment_id, entry)
    tags = entry.tags if entry.run_id else {}
    log_values(client, run_id, metrics=entry.metrics, params=entry.params, tags=tags, time_ms=entry.end_ms)
    client.set_terminated(run_id, FINISHED, end_time=entry.end_ms)
