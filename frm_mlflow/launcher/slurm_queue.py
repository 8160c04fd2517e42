"""Job states from Slurm's own scheduler through `squeue`, which, unlike `sacct`, needs no accounting database.

The controller forgets a job some minutes after it has ended (MinJobAge). A job that it no longer has on record has
ended; its reply, or the lack of one, shows how.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from frm_mlflow.errors import FleetError

WAITING = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "RESIZING"}
)
"""States in which a job may still reply."""
FORGOTTEN = "FORGOTTEN"
_QUEUE_S = 60
_UNPLACEABLE = ("BadConstraints", "ReqNodeNotAvail", "PartitionDown", "PartitionInactive", "NodeDown")
"""Why a pending job would wait until someone repairs the cluster."""


@dataclass(frozen=True)
class JobState:
    """The scheduler's report on one job."""

    state: str
    reason: str = ""
    node: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the job has ended and no result will follow."""
        return self.state not in WAITING

    @property
    def cannot_start(self) -> bool:
        """Whether it waits for something that the scheduler itself will never provide."""
        return self.state == "PENDING" and any(word in self.reason for word in _UNPLACEABLE)

    def words(self) -> str:
        """Return the state in words."""
        where = f" on {self.node}" if self.node else ""
        why = f" ({self.reason})" if self.reason and self.reason != "None" else ""
        return f"Slurm reports {self.state}{where}{why}"


def states(job_ids: Iterable[str]) -> dict[str, JobState]:
    """Return the state of each job (`ID`, or `ID_INDEX` in an array); unknown jobs are `FORGOTTEN`.

    Raises
    ------
    FleetError
        If the scheduler does not respond.
    """
    job_ids = list(job_ids)
    arrays = sorted({job_id.split("_")[0] for job_id in job_ids})
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%N|%r"]
    command.append(f"--jobs={','.join(arrays)}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUEUE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FleetError(f"Slurm's scheduler does not respond: {error}") from error
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise FleetError(f"Slurm's scheduler does not respond: {done.stderr.strip()}")
    reported = parsed(done.stdout)
    return {job_id: reported.get(job_id, JobState(FORGOTTEN)) for job_id in job_ids}


def parsed(text: str) -> dict[str, JobState]:
    """Return the states by job id from the output of `squeue`."""
    states_by_id = {}
    for line in text.splitlines():
        array, index, state, node, reason = line.strip().split("|", 4)
        states_by_id[f"{array}_{index}" if index.isdigit() else array] = JobState(state, reason, node)
    return states_by_id


def cancel(job_ids: Iterable[str]) -> None:
    """Tell the scheduler to end these jobs; jobs that have already ended are ignored."""
    subprocess.run(["scancel", *job_ids], capture_output=True, timeout=_QUEUE_S, check=False)  # noqa: S607
