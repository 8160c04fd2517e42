"""The environment of a fault: a real server behind a proxy, small disks, exports made once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.mlflow_server import free_port, start_server, wait_until_healthy
from benchmarks.ray_nodes import Fleet
from tests.faults.process import CASE_VARIABLE, HOST_VARIABLE, JOURNAL_VARIABLE, Command, preload
from tests.faults.proxy import Proxy, running_proxy
from tests.fleet.sshd import SSHD, Sshd, running_sshd

ROOT = Path(__file__).resolve().parents[2]
CONF = Path(__file__).resolve().parent / "conf"
MODELS = ("tiny_base", "tiny_a")
RESULTS_KEPT = 3
"""Exit code of a sweep that measured everything, but has some results only on disk."""
ARGUMENTS = ("bench", f"--config-dir={CONF}", "models=[tiny_a]", "baseline=tiny_base", "measure=tiny", "device=cpu")


@dataclass
class Server:
    """A real `mlflow server` that can be killed and started again on the same port and database."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """URI of the server itself, without the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it responds."""
        self.process = start_server(self.folder, port=self.port)
        wait_until_healthy(self.uri, self.process)

    def kill(self) -> None:
        """Kill it and its worker processes without warning."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Disk:
    """A small separate disk, if this machine lets us mount one."""

    folder: Path
    mounted: bool

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the disk completely until the block ends."""
        ballast = self.folder / ".ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(b"\0" * 65536):
                        pass
                except OSError:
                    pass
            yield
        finally:
            ballast.unlink(missing_ok=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Reject every write until the block ends."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)

    def clear(self) -> None:
        """Remove its contents, so that a long campaign does not fill it up."""
        for path in self.folder.iterdir():
            shutil.rmtree(path)


@contextmanager
def disk(folder: Path, *, mib: int) -> Iterator[Disk]:
    """Mount a small disk at `folder`; if mounting is denied, it is a plain folder and is marked as such."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield Disk(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


@dataclass
class World:
    """The environment that all cases of a campaign share."""

    folder: Path
    server: Server
    proxy: Proxy
    server_disk: Disk
    artifact_disk: Disk
    client_disk: Disk
    device_disk: Disk
    sshd: Sshd | None
    """A real server on loopback; None if OpenSSH's server is not installed."""
    cache: Path
    stack: ExitStack
    """Closes, at the end of the campaign, whatever a case starts for later cases."""
    sweep_seconds: float = 3.0
    """Duration of an undisturbed sweep; random moments are drawn within it."""
    fleet: Fleet | None = None
    """A Ray cluster, started by the first case that needs it."""

    @property
    def node_spool(self) -> Path:
        """Folder on the Ray node with results that wait for the server."""
        return self.folder / "node" / "spool"

    @property
    def node_tmp(self) -> Path:
        """The temporary folder of the Ray node's processes."""
        return self.folder / "node" / "tmp"

    @property
    def node_journal(self) -> Path:
        """A link to the journal of the case that runs on the Ray node now."""
        return self.folder / "journals" / "node"

    def case(self, name: str, number: int) -> Case:
        """Return a fresh environment for one fault."""
        return Case(self, f"{name}-{number}", self.client_disk.folder / f"{name}-{number}", list(ARGUMENTS))

    def runs(self, experiment: str) -> list[Run]:
        """Return every run of an experiment that is not deleted, read directly from the server."""
        client = MlflowClient(self.server.uri)
        found = client.get_experiment_by_name(experiment)
        return [] if found is None else list(client.search_runs([found.experiment_id], max_results=1000))

    def fair(self) -> None:
        """Undo whatever was done to the server."""
        self.proxy.weather.set("fair")
        if self.server.process is None or self.server.process.poll() is not None:
            self.server.start()


@dataclass
class Case:
    """One fault: a sweep of two benchmarks in a separate experiment, with separate folders."""

    world: World
    name: str
    folder: Path
    arguments: list[str]
    cache: Path = Path()
    environ: dict[str, str] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    sweeps: int = 1
    """Number of requested sweeps; each measures both models."""
    killed: bool = False
    """Whether a measuring process was killed; results that had not reached the disk are then measured again."""
    device_folder: Path | None = None
    """The folder on a remote device, as a path on this machine."""
    on_fleet: bool = False
    """Whether it runs on the Ray cluster."""

    def __post_init__(self) -> None:
        self.cache = self.world.cache
        for folder in (self.spool, self.tmp, self.cwd):
            folder.mkdir(parents=True, exist_ok=True)
        self.environ = {
            "MLFLOW_TRACKING_URI": self.world.proxy.uri,
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
            "FRM_MLFLOW_SPOOL": str(self.spool),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "FRM_MLFLOW_LOCKS": str(self.world.folder / "locks"),
            "XDG_CACHE_HOME": str(self.world.folder / "user-cache"),
            "TMPDIR": str(self.tmp),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            JOURNAL_VARIABLE: str(self.journal),
            CASE_VARIABLE: self.name,
        }

    @property
    def spool(self) -> Path:
        """Folder with results that wait for the server."""
        return self.folder / "spool"

    @property
    def tmp(self) -> Path:
        """The temporary folder of its processes."""
        return self.folder / "tmp"

    @property
    def cwd(self) -> Path:
        """The working folder of its processes."""
        return self.folder / "cwd"

    @property
    def journal(self) -> Path:
        """File with the measurements, on a disk that never fills."""
        return self.world.folder / "journals" / f"{self.name}.jsonl"

    @property
    def log(self) -> Path:
        """Output of its processes, on a disk that never fills."""
        return self.world.folder / "logs" / f"{self.name}.log"

    def command(self, *arguments: str) -> Command:
        """Start a command of the product in this environment."""
        environ = self.environ | {"FRM_CACHE_DIR": str(self.cache)}
        return Command.start(arguments, environ=environ, folder=self.cwd, log=self.log)

    def program(self, environ: Mapping[str, str]) -> Command:
        """Start the sweep as a new program, for environment variables that must be set when it is loaded."""
        everything = os.environ | self.environ | {"FRM_CACHE_DIR": str(self.cache)} | environ
        words = [*self.arguments, f"tracking.experiment={self.name}"]
        return Command.load(words, environ=everything, folder=self.cwd, log=self.log)

    def sweep(self, *more: str) -> Command:
        """Start the sweep."""
        return self.command(*self.arguments, f"tracking.experiment={self.name}", *more)

    def elsewhere(self, *more: str) -> Command:
        """Start the sweep as if on another host: with its own home and spool; its processes are not looked up here."""
        home = self.folder / "elsewhere"
        own = {"XDG_DATA_HOME": str(home), "HOME": str(home), HOST_VARIABLE: "elsewhere"}
        own |= {"FRM_MLFLOW_SPOOL": str(home / "spool"), "XDG_CACHE_HOME": str(home / "cache")}
        environ = self.environ | {"FRM_CACHE_DIR": str(self.cache)} | own
        words = [*self.arguments, f"tracking.experiment={self.name}", *more]
        return Command.start(words, environ=environ, folder=self.cwd, log=self.log)

    def ended(self, command: Command) -> int:
        """Wait for a command and record its exit code."""
        self.codes.append(command.wait())
        return self.codes[-1]

    def recover(self) -> None:
        """Follow the user documentation: resend, and resume sweeps that did not end well."""
        for _ in range(4):
            resent = self.command("resend").wait()
            if resent == 0 and self.codes and self.codes[-1] in (0, RESULTS_KEPT):
                return
            self.ended(self.sweep("resume=true"))
        self.command("resend").wait()


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """Start the server and the proxy, create the exports, and time an undisturbed sweep."""
    preload()
    for name in ("journals", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        server_disk = stack.enter_context(disk(folder / "server", mib=256))
        artifact_disk = stack.enter_context(disk(folder / "server" / "artifacts", mib=128))
        client_disk = stack.enter_context(disk(folder / "client", mib=64))
        device_disk = stack.enter_context(disk(folder / "device", mib=32))
        sshd = None
        if SSHD is not None:
            (folder / "sshd").mkdir()
            sshd = stack.enter_context(running_sshd(folder / "sshd"))
        server = Server(server_disk.folder, free_port())
        stack.callback(lambda: server.kill())
        server.start()
        proxy = stack.enter_context(running_proxy(server.port))
        disks = (server_disk, artifact_disk, client_disk, device_disk)
        world = World(folder, server, proxy, *disks, sshd, folder / "exported_models", stack)
        for _ in range(2):
            started = time.monotonic()
            case = world.case("undisturbed", 0)
            if code := case.ended(case.sweep()):
                raise RuntimeError(f"an undisturbed sweep ended with {code}: {case.log.read_text()[-2000:]}")
            world.sweep_seconds = time.monotonic() - started
        shutil.rmtree(case.folder)
        yield world
