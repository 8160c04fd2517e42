"""Only one process at a time runs a sweep: it holds a lease on the parent run, which the server stores as tags.

Each contender sets a tag and then reads the tags of all. It has the lease if no other process has a live tag;
otherwise it removes its own tag. If two set their tags at the same time, the one that reads later sees both, so
they never both hold the lease (docs/adr/0015). The owner renews its tag every few seconds. An owner on this machine is
alive as long as its process is; one on another machine is alive as long as its tag changes.
"""

from __future__ import annotations

import json
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
from mlflow import MlflowClient

from frm_mlflow import redact, schema
from frm_mlflow.errors import ConfigError, FrmError
from frm_mlflow.tracking.server import check_answer
from frm_mlflow.tracking.spool import SERVER_ERRORS

logger = redact.logger(__name__)

BEAT_S = 10.0
EXPIRES_S = 45.0
"""An owner on another machine is considered dead if its tag has not changed for this long."""
ATTEMPTS = 20
WAITS, HAS = "waits", "has"
_CLOCK_TOLERANCE_S = 5.0
"""The system clock may be adjusted between two reads of a process's start time."""


class LeaseLostError(FrmError):
    """Another process has taken over this sweep; this process must not continue."""


@dataclass(frozen=True)
class Owner:
    """A process that runs a sweep or is trying to."""

    host: str
    process: str
    """Its id and its start time."""
    kernel: str
    """The running system and its process-id namespace: a process can be looked up only there."""
    state: str = WAITS
    beat: int = 0

    @classmethod
    def here(cls) -> Owner:
        """Return this process."""
        pid = os.getpid()
        return cls(platform.node(), f"{pid} {psutil.Process(pid).create_time():.2f}", _kernel())

    @classmethod
    def read(cls, text: str) -> Owner:
        """Return the owner that a tag describes; an unreadable tag gives an unknown owner on another machine."""
        try:
            plain = json.loads(text)
            words = {key: str(plain[key]) for key in ("host", "process", "kernel", "state")}
            return cls(**words, beat=int(plain["beat"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            return cls("an unknown host", text[:100], "")

    def text(self) -> str:
        """Return the value of its tag."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def is_here(self) -> bool:
        """Whether its process can be looked up on this machine."""
        return bool(self.kernel) and self.kernel == _kernel()

    def words(self) -> str:
        """Return its name for messages."""
        return f"process {self.process.partition(' ')[0]} on {self.host}"


def is_alive(process: str) -> bool:
    """Whether the process in a `frm.process` tag runs on this host; a later one that reuses the id does not count."""
    pid, _, started = process.partition(" ")
    try:
        candidate = psutil.Process(int(pid))
        same = abs(candidate.create_time() - float(started)) <= _CLOCK_TOLERANCE_S
        return same and candidate.is_running() and candidate.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


@dataclass
class Lease:
    """The right to run one sweep; `kept` renews it until the block is left."""

    client: MlflowClient
    run_id: str
    key: str = field(default_factory=lambda: f"{schema.LEASE_PREFIX}{uuid.uuid4().hex[:12]}")
    owner: Owner = field(default_factory=Owner.here)
    lost_to: Owner | None = None
    answers: Callable[[MlflowClient], None] = check_answer
    """Raises immediately if the server does not respond: MLflow's client would retry for a long time."""

    @property
    def first_tag(self) -> dict[str, str]:
        """The tag of a run that is created together with its lease."""
        return {self.key: replace(self.owner, state=HAS).text()}

    def check(self) -> None:
        """Return if no other process has taken over the sweep, as of the last renewal.

        Raises
        ------
        LeaseLostError
            If one has.
        """
        if self.lost_to is not None:
            raise LeaseLostError(
                f"{self.lost_to.words()} has taken over the sweep {self.run_id} while this process did not renew its "
                "lease: this process ends, and the other one continues"
            )

    def acquire(
        self,
        *,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Take the lease, waiting for an owner on another machine to expire.

        Raises
        ------
        ConfigError
            If a live process holds it; nothing has been changed in that case.
        """
        rng = rng or random.Random()  # noqa: S311 - for a pause, not a secret
        gone: dict[str, str] = {}
        owner = self.owner
        for _ in range(ATTEMPTS):
            self._set(WAITS)
            others = self._others(gone)
            if not others:
                self._set(HAS)
                self._remove(gone)
                return
            self._take_back()
            key, owner = max(others.items(), key=lambda item: item[1].state == HAS)
            if owner.is_here and owner.state == HAS:
                self._refuse(owner)
            if owner.is_here:
                sleep(rng.uniform(0.1, 1.0))
            elif (last := self._watch(key, owner, tell=tell, clock=clock, sleep=sleep)) is not None:
                gone[key] = last
        self._refuse(owner)

    @contextmanager
    def kept(self) -> Iterator[Lease]:
        """Renew the lease in the background until the block is left, then release it."""
        stop = threading.Event()
        thread = threading.Thread(target=self._renew, args=(stop,), name="frm-lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join(BEAT_S)
            if self.lost_to is None:
                self._take_back()

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_S):
            try:
                self.answers(self.client)
                taken = [owner for owner in self._others({}).values() if owner.state == HAS]
                if taken:
                    self.lost_to = taken[0]
                    return
                self._set(HAS)
            except SERVER_ERRORS as error:
                logger.debug("the lease on %s could not be renewed: %s", self.run_id, error)

    def _set(self, state: str) -> None:
        self.owner = replace(self.owner, state=state, beat=self.owner.beat + 1)
        self.client.set_tag(self.run_id, self.key, self.owner.text())

    def _take_back(self) -> None:
        """Remove this process's tag; if it remains, other processes detect that its owner is dead."""
        try:
            self.answers(self.client)
            self.client.delete_tag(self.run_id, self.key)
        except SERVER_ERRORS as error:
            logger.debug("the lease on %s could not be given back: %s", self.run_id, error)

    def _remove(self, gone: dict[str, str]) -> None:
        """Remove the tags of processes that have ended."""
        for key, owner in self._tags().items():
            if key != self.key and (gone.get(key) == owner.text() or (owner.is_here and not is_alive(owner.process))):
                self.client.delete_tag(self.run_id, key)

    def _tags(self) -> dict[str, Owner]:
        tags = self.client.get_run(self.run_id).data.tags
        return {key: Owner.read(value) for key, value in tags.items() if key.startswith(schema.LEASE_PREFIX)}

    def _others(self, gone: dict[str, str]) -> dict[str, Owner]:
        """Return the other owners that are alive, or not known to have ended."""
        return {
            key: owner
            for key, owner in self._tags().items()
            if key != self.key and gone.get(key) != owner.text() and not (owner.is_here and not is_alive(owner.process))
        }

    def _watch(
        self,
        key: str,
        owner: Owner,
        *,
        tell: Callable[[str], None],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> str | None:
        """Watch an owner on another machine; return its last tag if it expires, or None if it releases the lease.

        Raises
        ------
        ConfigError
            If it renews its tag as the holder of the lease.
        """
        tell(f"the sweep {self.run_id} was run by {owner.words()}: waiting {EXPIRES_S:.0f} s to see if it still is")
        since = clock()
        while clock() - since < EXPIRES_S:
            sleep(1.0)
            now = self._tags().get(key)
            if now is None:
                return None
            if now != owner:
                if now.state == HAS:
                    self._refuse(now)
                return None
        return owner.text()

    def _refuse(self, owner: Owner) -> None:
        raise ConfigError(
            f"resume=true: the sweep {self.run_id} is still running as {owner.words()}. Wait for it, or stop it first."
        )


def _kernel() -> str:
    """Return an identifier of this running system and its process ids, or "" if there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
