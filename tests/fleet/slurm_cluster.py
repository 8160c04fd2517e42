"""A real Slurm on one host: munged, slurmctld and two slurmd, started as root in a separate folder."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.mlflow_server import free_port

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")
_CONF = """
ClusterName=frm
SlurmctldHost={host}
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdTimeout=10
KillWait=5
SchedulerParameters=sched_interval=2
"""


@dataclass
class Cluster:
    """The folder and the daemons of a cluster."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self, name: str, *command: str, environ: Mapping[str, str] | None = None) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command,
                env={**os.environ, **self.environ, **(environ or {})},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def stop(self, name: str) -> None:
        process = self.daemons.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def logs(self) -> str:
        return "\n".join(f"{p.name}:\n{p.read_text(errors='replace')[-1500:]}" for p in self.folder.glob("*.[lo]*"))


def missing() -> list[str]:
    """Return the missing programs or rights."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return [name for name in NEEDED if shutil.which(name, path=path) is None]


@contextmanager
def running_slurm(nodes: Mapping[str, Sequence[str]], *, environ: Mapping[str, str]) -> Iterator[Cluster]:
    """Yield a cluster whose nodes have these features; every daemon ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="frmslurm", dir="/tmp"))
    cluster = Cluster(folder)
    try:
        _munge(cluster)
        host = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
        lines = [_CONF.format(host=host, port=free_port(), folder=folder, user=getpass.getuser())]
        for name, features in nodes.items():
            lines.append(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 "
                f"Feature={','.join(features)} State=UNKNOWN"
            )
        lines.append(f"PartitionName=all Nodes={','.join(nodes)} Default=YES MaxTime=INFINITE State=UP\n")
        (folder / "slurm.conf").write_text("\n".join(lines))
        (folder / "state").mkdir()
        cluster.start("slurmctld", "/usr/sbin/slurmctld", "-D", "-i", "-f", str(folder / "slurm.conf"))
        for number, name in enumerate(nodes, start=1):
            (folder / f"spool-{name}").mkdir()
            own = {**environ, "FRM_TEST_NODE": str(number)}
            cluster.start(name, "/usr/sbin/slurmd", "-D", "-N", name, "-f", str(folder / "slurm.conf"), environ=own)
        _wait_until_idle(cluster, len(nodes))
        yield cluster
    finally:
        for name in reversed(list(cluster.daemons)):
            cluster.stop(name)
        shutil.rmtree(folder, ignore_errors=True)


def _munge(cluster: Cluster) -> None:
    key = cluster.folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    cluster.folder.chmod(0o755)
    options = [
        f"--key-file={key}",
        f"--socket={cluster.folder}/munge.socket",
        f"--pid-file={cluster.folder}/munged.pid",
    ]
    options += [f"--seed-file={cluster.folder}/munge.seed", f"--log-file={cluster.folder}/munged.log"]
    cluster.start("munged", "/usr/sbin/munged", "--foreground", "--force", *options)


def _wait_until_idle(cluster: Cluster, nodes: int, *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    said = ""
    while time.monotonic() < deadline:
        answer = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%N %T"],
            env={**os.environ, **cluster.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        said = answer.stdout + answer.stderr
        if answer.returncode == 0 and said.count("idle") == nodes:
            return
        time.sleep(0.5)
    raise RuntimeError(f"Slurm's nodes did not come up: {said}\n{cluster.logs()}")
