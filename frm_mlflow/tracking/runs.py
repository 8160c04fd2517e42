"""A sweep and its benchmarks as runs: one parent, and one child per benchmark.

Every run is addressed by its id through an explicit client; nothing depends on an "active" run.
A run that was opened here is always ended: FINISHED, FAILED with its reason, or KILLED.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType

from mlflow import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from frm_mlflow import redact, schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.records import BenchmarkRecord, content_hash
from frm_mlflow.tracking.context import DeviceContext
from frm_mlflow.tracking.create import create_run, opened_by
from frm_mlflow.tracking.entry import FAILED, FINISHED, KILLED, RunEntry, clean, record_entry
from frm_mlflow.tracking.lease import Lease, LeaseLostError
from frm_mlflow.tracking.resume import close_orphans
from frm_mlflow.tracking.run_files import NO_FILES, OUTPUT_FILE, RunFiles
from frm_mlflow.tracking.send import Sent, log_values
from frm_mlflow.tracking.server import check_answer, ensure_experiment
from frm_mlflow.tracking.signals import signals_as_interrupt
from frm_mlflow.tracking.spool import SERVER_ERRORS, keep_or_send, spool_directory, try_deliver
from frm_mlflow.tracking.summary import NO_SUMMARY, Summary

logger = redact.logger(__name__)

RUN_ID_VARIABLE = "MLFLOW_RUN_ID"
NOTHING: Mapping[str, str] = MappingProxyType({})
INTERRUPTED = "interrupted; the same command with resume=true continues"


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Outcome:
    """How a benchmark ended: FINISHED, FAILED or KILLED; `kept` is its folder until the server has it."""

    name: str
    status: str
    run_id: str | None
    record_id: str
    reason: str = ""
    kept: Path | None = None


@dataclass
class Sweep:
    """An open parent run, and how the benchmarks below it have ended so far."""

    client: MlflowClient
    experiment: str
    experiment_id: str
    run_id: str
    spool: Path
    context_tags: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    outcomes: list[Outcome] = field(default_factory=list)
    opening: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Marks the runs that this sweep has opened; a benchmark's mark has a number appended."""
    lease: Lease | None = None
    """The right to run this sweep; a fleet's job works under its launcher's lease."""
    summary: Summary = NO_SUMMARY
    """Summary of all benchmarks for the parent run; logged when it ends."""
    end_kept: Path | None = None
    """The folder of the sweep's own end until the server has it."""
    _numbers: Iterator[int] = field(default_factory=count, repr=False)

    @property
    def failures(self) -> list[Outcome]:
        """The benchmarks that did not finish."""
        return [outcome for outcome in self.outcomes if outcome.status != FINISHED]

    @property
    def kept(self) -> list[Outcome]:
        """The benchmarks that the server does not have yet; `frm-mlflow resend` logs them."""
        return [outcome for outcome in self.outcomes if outcome.kept]

    @contextmanager
    def benchmark(
        self, *, name: str, tags: Mapping[str, str] = NOTHING, description: str = ""
    ) -> Iterator[BenchmarkRun]:
        """Open a child run; it is ended when the block is left, whatever happens in it.

        An exception ends it as FAILED with the exception's message (also as an artifact if the message has
        more than one line, such as a worker's last output), Ctrl-C as KILLED; both are raised again.

        Raises
        ------
        LeaseLostError
            If another process has taken over the sweep; nothing is opened in that case.
        """
        if self.lease is not None:
            self.lease.check()
        opening = {schema.OPENING.key: f"{self.opening}-{next(self._numbers)}"}
        tags = {**self._child_tags(description), **tags, **opening}
        run = BenchmarkRun(sweep=self, name=name, tags=tags, start_ms=now_ms())
        run.open()
        try:
            yield run
        except KeyboardInterrupt:
            run.end(KILLED, INTERRUPTED)
            raise
        except BaseException as error:
            run.end(FAILED, _reason(error))
            raise
        finally:
            run.end(FAILED, "ended without a result")

    def close(self, status: str, reason: str = "") -> None:
        """End the parent run: now or, if the server does not respond, by a later `frm-mlflow resend`."""
        entry = RunEntry(
            tracking_uri=self.client.tracking_uri,
            experiment=self.experiment,
            record_id="",
            name="",
            status=status,
            start_ms=now_ms(),
            end_ms=now_ms(),
            run_id=self.run_id,
            metrics=dict(self.summary.metrics),
            tags={schema.OPENING.key: self.opening, **self.summary.tags()}
            | ({schema.REASON.key: reason} if reason else {}),
        )
        folder = keep_or_send(self.client, entry, RunFiles(texts=self.summary.texts), directory=self.spool)
        if isinstance(folder, Path) and not try_deliver(self.client, folder):
            self.end_kept = folder

    def close_children(self) -> None:
        """End as KILLED what an interrupt has left open: children whose ids had not been returned yet."""
        try:
            check_answer(self.client)
            for run_id in opened_by(self.client, self.experiment_id, f"{self.opening}-"):
                self.client.set_tag(run_id, schema.REASON.key, INTERRUPTED)
                self.client.set_terminated(run_id, KILLED)
        except SERVER_ERRORS as error:
            logger.warning("%s. Resuming the sweep closes what it has left open.", error)

    def _child_tags(self, description: str) -> dict[str, str]:
        tags = {
            schema.KIND.key: schema.KIND_BENCHMARK,
            schema.SCHEMA.key: str(schema.SCHEMA_VERSION),
            schema.HOST.key: platform.node(),
            MLFLOW_PARENT_RUN_ID: self.run_id,
        }
        return {**self.context_tags, **tags} | ({MLFLOW_RUN_NOTE: description} if description else {})


@dataclass
class BenchmarkRun:
    """An open child run: `finish` or `end` ends it."""

    sweep: Sweep
    name: str
    tags: dict[str, str]
    start_ms: int
    run_id: str | None = None
    """None if the server went away before the run could be opened."""
    outcome: Outcome | None = None

    def open(self) -> None:
        """Create the run, if the server responds."""
        client = self.sweep.client
        tags = clean(self.tags)
        try:
            check_answer(client)
            self.run_id = create_run(
                client, self.sweep.experiment_id, name=self.name, tags=tags, start_ms=self.start_ms
            )
        except SERVER_ERRORS as error:
            logger.warning("%s. %s is still measured, and its result is saved on disk.", error, self.name)

    def finish(self, record: BenchmarkRecord, files: RunFiles = NO_FILES) -> Outcome:
        """Log `record` with its files and end the run as FINISHED."""
        entry = record_entry(
            record,
            tracking_uri=self.sweep.client.tracking_uri,
            experiment=self.sweep.experiment,
            run_id=self.run_id,
            tags=self.tags,
        )
        return self._close(entry, files)

    def end(self, status: str, reason: str) -> Outcome:
        """End the run without a result, unless it has already ended; return how it ended.

        A reason of several lines (a worker's last output) is also logged as a file.
        """
        if self.outcome is not None:
            return self.outcome
        texts = {OUTPUT_FILE: reason} if "\n" in reason.strip() else {}
        return self._close(self._unfinished(status, reason), RunFiles(texts=texts))

    def _unfinished(self, status: str, reason: str) -> RunEntry:
        record_id = content_hash({"run": self.run_id, "name": self.name, "start": self.start_ms, "tags": self.tags})
        return RunEntry(
            tracking_uri=self.sweep.client.tracking_uri,
            experiment=self.sweep.experiment,
            record_id=record_id,
            name=self.name,
            status=status,
            start_ms=self.start_ms,
            end_ms=now_ms(),
            run_id=self.run_id,
            tags={**self.tags, schema.REASON.key: reason, schema.RECORD_ID.key: record_id},
        )

    def _close(self, entry: RunEntry, files: RunFiles) -> Outcome:
        if self.outcome is not None:
            raise TrackingError(f"{self.name} has already ended ({self.outcome.status})")
        client = self.sweep.client
        reason = redact.text(entry.tags.get(schema.REASON.key, ""))
        outcome = Outcome(entry.name, entry.status, self.run_id, entry.record_id, reason)
        try:
            saved = keep_or_send(client, entry, files, directory=self.sweep.spool)
        except TrackingError as error:
            self._ended(replace(outcome, status=FAILED, reason=str(error)))
            raise
        if isinstance(saved, Sent):
            return self._ended(replace(outcome, run_id=saved.run_id))
        self.outcome = replace(outcome, kept=saved)  # also if an interrupt ends the delivery
        try:
            if run_id := try_deliver(client, saved):
                self.outcome = replace(outcome, run_id=run_id)
        finally:
            self._ended(self.outcome)
        return self.outcome

    def _ended(self, outcome: Outcome) -> Outcome:
        self.outcome = outcome
        self.sweep.outcomes.append(outcome)
        return outcome


@contextmanager
def open_sweep(
    client: MlflowClient,
    experiment: str,
    *,
    name: str,
    description: str = "",
    kind: str = schema.KIND_SWEEP,
    tags: Mapping[str, str] = NOTHING,
    params: Mapping[str, str] = NOTHING,
    parent_run_id: str | None = None,
    resume: bool = False,
    spool: Path | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> Iterator[Sweep]:
    """Open a parent run; it is ended when the block is left.

    It ends as FAILED if a benchmark below it failed or an exception is raised, as KILLED on
    Ctrl-C, SIGTERM or SIGHUP, else as FINISHED. Exceptions are raised again. A run for an analysis or a
    prediction is opened the same way with another `kind`.

    Parameters
    ----------
    experiment
        Name of the experiment, which is created if it does not exist.
    params
        Logged to a run that is created here; a run of `mlflow run` already has its own.
    parent_run_id
        An existing run to continue (a sweep that is resumed).
    resume
        End as KILLED the runs that an earlier process of that sweep left RUNNING.
    spool
        Folder that keeps results until the server has them; None uses `spool_directory()`.
    environ
        `MLFLOW_RUN_ID`, which `mlflow run` sets for its child, is removed from here, and that run
        becomes the parent in its own experiment.

    Raises
    ------
    ConfigError
        If another live process runs that sweep (`tracking.lease`).
    TrackingError
        If the run cannot be opened; nothing has been measured in that case.
    """
    existing = parent_run_id or environ.get(RUN_ID_VARIABLE)
    environ.pop(RUN_ID_VARIABLE, None)
    is_sweep = kind == schema.KIND_SWEEP
    context_tags = resolve_tags(ignore=[DeviceContext])  # type: ignore[list-item] # annotated as instances
    opening = uuid.uuid4().hex
    tags = {schema.KIND.key: kind, schema.SCHEMA.key: str(schema.SCHEMA_VERSION), **tags, schema.OPENING.key: opening}
    if description:
        tags[MLFLOW_RUN_NOTE] = description
    with signals_as_interrupt(), ExitStack() as stack:
        try:
            lease = Lease(client, existing or "")
            if existing:
                if is_sweep:
                    lease.acquire(tell=logger.warning)
                if resume:
                    close_orphans(client, existing, reason="the sweep was killed; resumed")
                experiment_id = adopt(client, existing, tags)
                experiment = client.get_experiment(experiment_id).name
            else:
                experiment_id = ensure_experiment(client, experiment)
                lease_tag = lease.first_tag if is_sweep else {}
                lease.run_id = begin(client, experiment_id, name, {**context_tags, **tags, **lease_tag}, params)
        except SERVER_ERRORS as error:
            raise TrackingError(f"the run '{name}' cannot be opened at {client.tracking_uri}: {error}") from error
        sweep = Sweep(
            client, experiment, experiment_id, lease.run_id, spool or spool_directory(), context_tags, opening=opening
        )
        if is_sweep:
            sweep.lease = stack.enter_context(lease.kept())
        stack.enter_context(_closing(sweep, interrupted=INTERRUPTED if is_sweep else "interrupted"))
        yield sweep


def begin(
    client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, str]
) -> str:
    """Create a run with tags and params and return its id."""
    run_id = create_run(client, experiment_id, name=name, tags=clean(tags), start_ms=now_ms())
    log_values(client, run_id, params=params)
    return run_id


def adopt(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> str:
    """Make an existing run the open parent and return the id of its experiment."""
    experiment_id = client.get_run(run_id).info.experiment_id
    client.update_run(run_id, status="RUNNING")
    log_values(client, run_id, tags=tags)
    return str(experiment_id)


@contextmanager
def _closing(sweep: Sweep, *, interrupted: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sweep.close_children()
        sweep.close(KILLED, interrupted)
        raise
    except LeaseLostError:  # the parent run now belongs to another process
        raise
    except BaseException as error:
        sweep.close(FAILED, _reason(error))
        raise
    failed = sweep.failures
    if failed:
        names = ", ".join(outcome.name for outcome in failed)
        sweep.close(FAILED, f"{len(failed)} of {len(sweep.outcomes)} benchmarks failed: {names}")
    else:
        sweep.close(FINISHED)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
