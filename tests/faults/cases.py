"""The faults: each is injected into a running sweep at a random moment.

A case gets its environment and a random generator, and returns what it did, or None if the sweep ended before
the fault could hit. The campaign does the recovery and the judgement.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import sqlite3
import time
from pathlib import Path

from tests.faults import devices, fleet
from tests.faults.fault import Fault, Inject, moment, needs_mount
from tests.faults.world import Case, World

_OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
PORTALS = (
    _OK + b"Content-Type: text/html\r\n\r\n<!DOCTYPE html><title>Log in</title>",
    _OK + b"Content-Length: 0\r\n\r\n",
    _OK + b'Content-Type: application/json\r\n\r\n{"status": "login required"}',
    _OK + b'Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"runs": [',
)
"""The response of a captive portal, when a network requires its user to log in."""
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
"""Debian's package libfaketime."""


def worker_killed(case: Case, rng: random.Random) -> str | None:
    """The system kills a worker."""
    return _to_worker(case, rng, signal.SIGKILL)


def worker_stopped(case: Case, rng: random.Random) -> str | None:
    """A worker is alive but no longer replies."""
    case.arguments.append("measure.timeout_s=8")
    return _to_worker(case, rng, signal.SIGSTOP)


def _to_worker(case: Case, rng: random.Random, number: signal.Signals) -> str | None:
    sweep = case.sweep()
    hit = None
    if moment(case, rng, sweep) and (worker := sweep.worker(until_s=5)):
        worker.send_signal(number)
        hit = f"{number.name} to a worker"
    case.ended(sweep)
    return hit


def worker_out_of_memory(case: Case, rng: random.Random) -> str | None:
    """A worker runs out of memory."""
    sweep = case.sweep()
    hit = None
    if moment(case, rng, sweep) and (worker := sweep.worker(until_s=5)):
        limit = worker.memory_info().vms
        worker.rlimit(resource.RLIMIT_AS, (limit, limit))
        hit = f"no address space beyond {limit >> 20} MiB"
    case.ended(sweep)
    return hit


def launcher_killed(case: Case, rng: random.Random) -> str | None:
    """The sweep's process is killed; in one of four cases, so is the process that resumes it."""
    sweep = case.sweep()
    hit = "SIGKILL to the sweep" if moment(case, rng, sweep) and sweep.send(signal.SIGKILL) else None
    case.ended(sweep)
    if hit and rng.random() < 0.25:
        again = case.sweep("resume=true")
        if moment(case, rng, again) and again.send(signal.SIGKILL):
            hit += ", and to its resumption"
        case.ended(again)
    return hit


def launcher_interrupted(case: Case, rng: random.Random) -> str | None:
    """The sweep gets Ctrl-C, or SIGTERM from a scheduler."""
    number = rng.choice((signal.SIGINT, signal.SIGTERM))
    sweep = case.sweep()
    hit = f"{number.name} to the sweep" if moment(case, rng, sweep) and sweep.send(number) else None
    case.ended(sweep)
    return hit


def resend_killed(case: Case, rng: random.Random) -> str | None:
    """The server is down for the whole sweep, and the command that then sends its results is killed."""
    sweep = case.sweep()
    while sweep.running and not case.world.runs(case.name):
        time.sleep(0.05)
    case.world.proxy.weather.set("down")
    case.ended(sweep)
    case.world.proxy.weather.set("slow", delay_s=0.03)
    resend = case.command("resend")
    time.sleep(rng.uniform(0.0, 0.8))
    hit = "SIGKILL to resend" if resend.send(signal.SIGKILL) else None
    resend.wait()
    return hit


def _weather(kind: str) -> Inject:
    def inject(case: Case, rng: random.Random) -> str | None:
        weather = case.world.proxy.weather
        sweep = case.sweep()
        moment(case, rng, sweep)
        before, seconds, delay_s = weather.disturbed, rng.uniform(0.2, 3.0), rng.uniform(0.3, 5.0)
        weather.set(kind, delay_s=delay_s)
        deadline = time.monotonic() + seconds
        while sweep.running and (time.monotonic() < deadline or weather.disturbed == before):
            time.sleep(0.005)
        weather.set("fair")
        case.ended(sweep)
        disturbed = weather.disturbed - before
        return f"{disturbed} requests in {seconds:.1f} s" if disturbed else None

    return inject


def server_restarted(case: Case, rng: random.Random) -> str | None:
    """The server is killed and started again on the same database."""
    sweep = case.sweep()
    hit = moment(case, rng, sweep)
    case.world.server.kill()
    case.world.server.start()
    case.ended(sweep)
    return "killed and started" if hit else None


def database_locked(case: Case, rng: random.Random) -> str | None:
    """Another program locks the server's database, or the database to which the sweep logs without a server."""
    sweep = case.sweep()
    hit = moment(case, rng, sweep)
    seconds = rng.uniform(1.0, 7.0)
    with sqlite3.connect(case.world.server.folder / "mlflow.db", timeout=20, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        deadline = time.monotonic() + seconds
        while sweep.running and time.monotonic() < deadline:
            time.sleep(0.01)
        database.execute("ROLLBACK")
    database.close()
    case.ended(sweep)
    return f"locked for {seconds:.1f} s" if hit else None


def artifacts_read_only(case: Case, rng: random.Random) -> str | None:
    """The server accepts metrics but no files."""
    sweep = case.sweep()
    hit = moment(case, rng, sweep)
    with case.world.artifact_disk.read_only():
        case.ended(sweep)
    return "remounted read-only" if hit else None


def client_disk_full(case: Case, rng: random.Random) -> str | None:
    """The disk is full where results and temporary files are stored."""
    sweep = case.sweep()
    hit = moment(case, rng, sweep)
    with case.world.client_disk.full():
        case.ended(sweep)
    return "full until the sweep ended" if hit else None


def server_disk_full(case: Case, rng: random.Random) -> str | None:
    """The disk is full for the server's database, or for its artifacts."""
    chosen = rng.choice((case.world.server_disk, case.world.artifact_disk))
    sweep = case.sweep()
    hit = moment(case, rng, sweep)
    with chosen.full():
        case.ended(sweep)
    return f"{chosen.folder.name} full until the sweep ended" if hit else None


def cache_corrupted(case: Case, rng: random.Random) -> str | None:
    """A file of an export is truncated, changed or deleted while the sweep runs."""
    case.cache = case.world.folder / "own-exported-models" / case.name
    shutil.copytree(case.world.cache, case.cache)
    sweep = case.sweep()
    at_start = rng.random() < 0.5
    if not at_start:
        moment(case, rng, sweep)
    files = sorted(path for path in case.cache.glob("*/*") if path.is_file() and path.suffix != ".lock")
    done = _damage(rng.choice(files), rng)
    case.ended(sweep)
    return done


def _damage(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    how = rng.choice(("cut", "changed", "deleted"))
    if how == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    elif how == "changed":
        content[rng.randrange(len(content))] ^= 0xFF
        path.write_bytes(content)
    else:
        path.unlink()
    return f"{path.name} {how}"


def two_sweeps(case: Case, rng: random.Random) -> str | None:
    """The same sweep runs twice at the same time: one server, one cache, one spool."""
    case.sweeps = 2
    first = case.sweep()
    time.sleep(rng.uniform(0.0, 1.0))
    second = case.sweep()
    overlapped = first.running
    case.ended(first)
    case.ended(second)
    return "overlapped" if overlapped else None


def launcher_hung_up(case: Case, rng: random.Random) -> str | None:
    """The terminal or the ssh connection of a sweep is closed; terminals often send SIGHUP twice."""
    sweep = case.sweep()
    hit = "SIGHUP to the sweep" if moment(case, rng, sweep) and sweep.send(signal.SIGHUP) else None
    if hit and rng.random() < 0.5:
        time.sleep(rng.uniform(0.0, 0.2))
        sweep.send(signal.SIGHUP)
    case.ended(sweep)
    return hit


def two_resumes(case: Case, rng: random.Random) -> str | None:
    """A sweep is killed, and two processes resume it at once: on one host, or on two with separate homes."""
    sweep = case.sweep()
    hit = moment(case, rng, sweep) and sweep.send(signal.SIGKILL)
    case.ended(sweep)
    if not hit or not case.world.runs(case.name):
        return None
    elsewhere = rng.random() < 0.5
    first = case.sweep("resume=true")
    second = case.elsewhere("resume=true") if elsewhere else case.sweep("resume=true")
    codes = [second.wait(), first.wait()]
    case.codes += sorted(codes, reverse=True)
    return f"two resumed on {'two hosts' if elsewhere else 'one host'}: {codes}"


def second_sweep(case: Case, rng: random.Random) -> str | None:
    """Another sweep, with another home and server folder, needs the device meanwhile: it waits its turn."""
    case.sweeps = 2
    first = case.sweep()
    moment(case, rng, first, within_s=case.world.sweep_seconds / 2)
    second = case.elsewhere()
    overlapped = first.running
    case.ended(first)
    case.ended(second)
    return "waited for the device" if overlapped else None


def captive_portal(case: Case, rng: random.Random) -> str | None:
    """Something else replies instead of the server: a login page, an empty body, other JSON, or half a response."""
    case.world.proxy.weather.content = rng.choice(PORTALS)
    return _weather("wrong")(case, rng)


def clock_jumped(case: Case, rng: random.Random) -> str | None:
    """The clock is set, back or forward, by minutes to days."""
    clock = case.world.folder / "clocks" / case.name
    clock.parent.mkdir(exist_ok=True)
    clock.write_text("+0")
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    faked |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    sweep = case.program(faked)
    while sweep.running and not case.world.runs(case.name):
        time.sleep(0.05)
    time.sleep(rng.uniform(0.0, case.world.sweep_seconds))
    seconds = rng.choice((-1, 1)) * rng.choice((90, 3600, 86400, 400 * 86400))
    hit = sweep.running
    clock.write_text(f"{seconds:+d}")
    case.ended(sweep)
    return f"set by {seconds:+d} s" if hit else None


def _needs_faketime(world: World) -> str:
    return "" if FAKETIME.exists() else "libfaketime is not installed"


FAULTS: tuple[Fault, ...] = (
    Fault("worker-killed", "worker SIGKILL", worker_killed),
    Fault("worker-stopped", "worker SIGSTOP", worker_stopped),
    Fault("worker-memory", "worker out of memory", worker_out_of_memory),
    Fault("launcher-killed", "sweep SIGKILL", launcher_killed),
    Fault("launcher-interrupted", "sweep SIGINT or SIGTERM", launcher_interrupted),
    Fault("launcher-hung-up", "sweep SIGHUP", launcher_hung_up),
    Fault("resend-killed", "`resend` SIGKILL", resend_killed),
    Fault("server-down", "server down", _weather("down")),
    Fault("server-slow", "server slow", _weather("slow")),
    Fault("server-errors", "server answers 500", _weather("error")),
    Fault("answers-lost", "server's answers lost", _weather("lost")),
    Fault("server-restarted", "server killed and restarted", server_restarted),
    Fault("database-locked", "SQLite locked", database_locked),
    Fault("artifacts-read-only", "artifact store read-only", artifacts_read_only, needs_mount),
    Fault("client-disk-full", "client's disk full", client_disk_full, needs_mount),
    Fault("server-disk-full", "server's disk full", server_disk_full, needs_mount),
    Fault("cache-corrupted", "cache entry corrupted", cache_corrupted),
    Fault("two-sweeps", "two sweeps at once", two_sweeps),
    Fault("two-resumes", "two resumes at once", two_resumes),
    Fault("second-sweep", "another sweep on the device", second_sweep),
    Fault("captive-portal", "another program answers for the server", captive_portal),
    Fault("clock-jumped", "clock set by up to 400 days", clock_jumped, _needs_faketime),
    *devices.FAULTS,
    *fleet.FAULTS,
)
