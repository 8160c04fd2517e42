"""Faults of remote devices: over ssh through a real server on loopback, over adb through a stand-in."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.faults.fault import Fault, Inject, moment, needs_mount
from tests.faults.process import Command
from tests.faults.world import Case, World
from tests.fleet.phone import FakePhone, perf_test, program
from tests.fleet.sshd import Sshd, key, overrides

SLOWER = 1.5
"""A sweep on a remote device takes longer than a local one."""
SHOT_S = 0.15


def _over_ssh(case: Case) -> Sshd:
    """Make the case's sweep measure over ssh: on this host, through a real server."""
    sshd = case.world.sshd
    assert sshd is not None
    case.device_folder = case.world.device_disk.folder / case.name
    reach = sshd.device(python=sys.executable, folder=case.device_folder)
    case.arguments += [*overrides(reach), "runtime.threads=1"]
    return sshd


def _moment(case: Case, rng: random.Random, sweep: Command) -> bool:
    return moment(case, rng, sweep, within_s=SLOWER * case.world.sweep_seconds)


def connection_cut(case: Case, rng: random.Random) -> str | None:
    """Every ssh connection to the device is cut."""
    sshd = _over_ssh(case)
    sweep = case.sweep()
    _moment(case, rng, sweep)
    hit = False
    while sweep.running and not hit:
        hit = bool(sshd.sessions())
        sshd.cut()
        time.sleep(0.02)
    case.ended(sweep)
    return "all sessions killed" if hit else None


def host_key_changed(case: Case, rng: random.Random) -> str | None:
    """The device's host key changes at some moment of the sweep."""
    sshd = _over_ssh(case)
    known = sshd.known_hosts.read_text()
    where = known.split()[0]
    other = key(case.world.folder / f"key-of-{case.name}")
    sweep = case.sweep()
    hit = _moment(case, rng, sweep)
    try:
        sshd.known_hosts.write_text(f"{where} {other}")
        sshd.cut()
        case.ended(sweep)
    finally:
        sshd.known_hosts.write_text(known)
    return "another key from then on" if hit else None


def device_disk_full(case: Case, rng: random.Random) -> str | None:
    """The disk of the device that is reached over ssh is full."""
    _over_ssh(case)
    sweep = case.sweep()
    hit = _moment(case, rng, sweep)
    with case.world.device_disk.full():
        case.ended(sweep)
    return "full until the sweep ended" if hit else None


@contextmanager
def _phone(case: Case) -> Iterator[FakePhone]:
    """Make the case's sweep measure on a phone; it is always plugged in again after the block."""
    folder = case.world.folder / "phones" / case.name
    storage = case.world.device_disk.folder / case.name
    for needed in (folder, storage):
        needed.mkdir(parents=True)
    (folder / "phone").symlink_to(storage)
    shots = {"*": [perf_test(0.010), perf_test(0.0101)]}
    phone = FakePhone.plugged_in(folder, shots=shots, shot_seconds=SHOT_S)
    case.device_folder = storage / "data" / "local" / "tmp" / "frm"
    case.environ |= phone.environment
    tool = program(folder, "onnxruntime_perf_test")
    case.arguments.remove("device=cpu")
    case.arguments += ["device=phone", f"device.binary={tool}", "device.tool=onnxruntime_perf_test"]
    case.arguments += ["runtime.threads=1", "accuracy=published"]
    try:
        yield phone
    finally:
        phone.connect("device")


def _phone_becomes(state: str) -> Inject:
    def inject(case: Case, rng: random.Random) -> str | None:
        with _phone(case) as phone:
            sweep = case.sweep()
            hit = _moment(case, rng, sweep)
            phone.connect(state)
            how_long = "from then on"
            if rng.random() < 0.3:
                seconds = rng.uniform(0.1, 2.0)
                time.sleep(seconds)
                phone.connect("device")
                how_long = f"for {seconds:.1f} s"
            case.ended(sweep)
        return f"{state} {how_long}" if hit else None

    return inject


def adb_killed(case: Case, rng: random.Random) -> str | None:
    """The system kills a running `adb`."""
    with _phone(case):
        sweep = case.sweep()
        hit = None
        if _moment(case, rng, sweep) and (adb := _running_adb(sweep)):
            with suppress(ProcessLookupError):
                os.kill(adb.pid, signal.SIGKILL)
                hit = "SIGKILL to adb"
        case.ended(sweep)
    return hit


def _running_adb(sweep: Command, *, until_s: float = 5.0) -> psutil.Process | None:
    """Return the sweep's `adb`, waiting for the next one if none is running; None if the sweep ends first."""
    deadline = time.monotonic() + until_s
    while time.monotonic() < deadline and sweep.running:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(sweep.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if any("fake_adb.py" in word for word in child.cmdline()):
                        return child
        time.sleep(0.005)
    return None


def phone_full(case: Case, rng: random.Random) -> str | None:
    """The phone's storage is full."""
    with _phone(case):
        sweep = case.sweep()
        hit = _moment(case, rng, sweep)
        with case.world.device_disk.full():
            case.ended(sweep)
    return "full until the sweep ended" if hit else None


def _needs_ssh(world: World) -> str:
    return "" if world.sshd is not None else "sshd is not installed"


def _needs_device_disk(world: World) -> str:
    return _needs_ssh(world) or needs_mount(world)


FAULTS: tuple[Fault, ...] = (
    Fault("ssh-cut", "ssh connection cut", connection_cut, _needs_ssh),
    Fault("host-key-changed", "ssh host key changed", host_key_changed, _needs_ssh),
    Fault("device-disk-full", "device's disk full (ssh)", device_disk_full, _needs_device_disk),
    Fault("phone-gone", "phone unplugged (adb stand-in)", _phone_becomes("gone")),
    Fault("phone-offline", "phone `offline` (adb stand-in)", _phone_becomes("offline")),
    Fault("phone-unauthorized", "phone `unauthorized` (adb stand-in)", _phone_becomes("unauthorized")),
    Fault("adb-killed", "`adb` SIGKILL (adb stand-in)", adb_killed),
    Fault("phone-full", "phone's storage full (adb stand-in)", phone_full, needs_mount),
)
