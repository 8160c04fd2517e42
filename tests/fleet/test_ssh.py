"""Workers over a real ssh connection: what is copied, what is rejected, and what remains when it breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from frm_mlflow import devices
from frm_mlflow.config import DeviceConfig, MeasureConfig, Recognition, RuntimeConfig
from frm_mlflow.devices.archive import worker_archive
from frm_mlflow.devices.client import Worker
from frm_mlflow.devices.ssh import SshHost
from frm_mlflow.errors import (
    ConfigError,
    DeviceFullError,
    DeviceMismatchError,
    DeviceOfflineError,
    DeviceSetupError,
    DeviceUnauthorizedError,
    HostKeyError,
    TransportLostError,
    WorkerError,
    WorkerVersionError,
)
from frm_mlflow.measure import benchmark
from frm_mlflow.worker.manifest import REFERENCE_NAME
from frm_mlflow.worker.store import content_key
from tests.fleet.sshd import Sshd, key
from tests.measure.small_networks import small_network

LONG_S = 120.0
RUNTIME = RuntimeConfig("onnxruntime", threads=1)
QUICK = MeasureConfig(
    runs=20, max_runs=40, max_seconds=2, warm_up_seconds=0.05, warm_up_max_seconds=1, energy_seconds=0, timeout_s=LONG_S
)
Over = Callable[..., DeviceConfig]


@pytest.fixture(scope="module")
def exported_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_network("onnxruntime", tmp_path_factory.mktemp("networks") / "small")


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_network("onnxruntime", tmp_path_factory.mktemp("networks") / "larger", width=32, depth=3)


@pytest.fixture
def host(over_ssh: Over) -> Iterator[SshHost]:
    with devices.opened(over_ssh()) as found:
        assert isinstance(found, SshHost)
        yield found


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def of_this_test(folder: Path) -> list[psutil.Process]:
    """Return every process that works for this device folder, on either side."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(str(folder) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def is_clean(folder: Path) -> bool:
    """Whether no process runs for the folder, and it contains no partial copies or temporary files."""
    whole = all(len(place.name) == 64 for place in (folder / "exported_models").glob("*"))
    programs = [place.name for place in folder.glob("worker-*")]
    return (
        whole
        and programs in ([], [worker_archive().name])
        and not any((folder / "scratch").glob("*"))
        and not (of_this_test(folder))
    )


def load(worker: Worker, exported_model: Path) -> dict[str, object]:
    return worker.request("load", timeout_s=LONG_S, exported_model=str(exported_model), runtime="onnxruntime")


def test_a_benchmark_beside_its_baseline_over_ssh(
    over_ssh: Over, device_folder: Path, exported_model: Path, larger: Path
):
    with devices.opened(over_ssh()) as host:
        device = devices.resolve(over_ssh(), hardware=host.hardware, known=())
        found = benchmark(
            exported_model=exported_model,
            baseline=larger,
            device=device,
            runtime=RUNTIME,
            config=QUICK,
            rng=np.random.default_rng(0),
            host=host,
        )
        there = host.environment(device)
    assert found.identity.cosine > 0.9999
    assert found.metrics["ratio/latency"] < 1
    assert found.metrics["memory/peak_mib"] > 0
    assert found.memory_definition == "rss_peak"
    assert set(found.samples["role"]) == {"model", "baseline"}
    assert there["transport"]["worker"] == worker_archive().sha256
    assert there["hardware"]["cpu"] == devices.probe().cpu
    assert "numpy" in there["libraries"]
    assert sorted(place.name for place in (device_folder / "exported_models").iterdir()) == sorted(
        content_key(folder) for folder in (exported_model, larger)
    )
    until(lambda: is_clean(device_folder), "something was left on the device")


def test_the_worker_there_is_pinned_as_a_local_one_is(host: SshHost):
    worker = host.open_worker("tester", threads=3, affinity=[0])
    hello = worker.request("hello", timeout_s=LONG_S)
    environment = psutil.Process(hello["pid"]).environ()
    worker.close()
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["MALLOC_MMAP_THRESHOLD_"] == "131072"
    assert hello["affinity"] == [0]


def test_accuracy_inputs_travel_there_and_outputs_back(host: SshHost, exported_model: Path, tmp_path: Path):
    with np.load(exported_model / REFERENCE_NAME) as reference:
        np.savez(tmp_path / "inputs.npz", input_0=np.stack([reference["input_0"]] * 3))
        expected = reference["output_0"]
    worker = host.open_worker("tester", threads=1)
    load(worker, exported_model)
    files = {"inputs": str(tmp_path / "inputs.npz"), "outputs": str(tmp_path / "outputs.npz")}
    assert worker.request("predict", timeout_s=LONG_S, **files)["calls"] == 3
    worker.close()
    with np.load(tmp_path / "outputs.npz") as answer:
        np.testing.assert_allclose(answer["output_0"], np.stack([expected] * 3), rtol=1e-3, atol=1e-5)


def test_what_is_there_is_not_copied_again(over_ssh: Over, device_folder: Path, exported_model: Path):
    inodes = set()
    for _ in range(2):
        with devices.opened(over_ssh()) as host:
            place = Path(host.put(exported_model))
            inodes.add(((place / "model.onnx").stat().st_ino, (device_folder / worker_archive().name).stat().st_ino))
    assert len(inodes) == 1


def test_a_damaged_copy_and_a_damaged_worker_are_replaced(over_ssh: Over, device_folder: Path, exported_model: Path):
    with devices.opened(over_ssh()) as host:
        place = Path(host.put(exported_model))
    (place / "model.onnx").write_bytes(b"half of it")
    (device_folder / worker_archive().name).write_bytes(worker_archive().content[:1000])
    with devices.opened(over_ssh()) as host:
        assert host.put(exported_model) == str(place)
    assert content_key(place) == content_key(exported_model)


def test_an_unknown_host_is_refused_with_the_remedy(over_ssh: Over, tmp_path: Path):
    (tmp_path / "no_hosts").write_text("")
    with pytest.raises(HostKeyError, match=r"not in your known hosts: connect once manually"):
        SshHost(over_ssh(known_hosts=str(tmp_path / "no_hosts")))


def test_a_host_whose_key_changed_is_refused_with_the_fingerprint(over_ssh: Over, sshd: Sshd, tmp_path: Path):
    other = key(tmp_path / "other")
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    with pytest.raises(HostKeyError, match=r"has changed(.|\n)*SHA256:(.|\n)*ssh-keygen"):
        SshHost(over_ssh(known_hosts=str(tmp_path / "known")))


def test_a_host_that_lets_nobody_in_is_refused(over_ssh: Over, tmp_path: Path):
    key(tmp_path / "stranger")
    options = {"IdentityFile": str(tmp_path / "stranger"), "IdentitiesOnly": "yes"}
    with pytest.raises(DeviceUnauthorizedError, match=r"ssh-copy-id 127\.0\.0\.1"):
        SshHost(over_ssh(ssh_options=options))


@pytest.mark.parametrize("settings", [{"port": 1}, {"host": "no-such-host.invalid"}])
def test_a_host_that_is_not_there_is_said_to_be_offline(
    over_ssh: Over, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("frm_mlflow.devices.ssh_connection._PAUSE_S", 0.0)
    with pytest.raises(DeviceOfflineError, match="cannot be reached"):
        SshHost(over_ssh(**settings))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"host": "-oProxyCommand=touch /tmp/x"}, "device.host must be"),
        ({"host": "pi@board\n; reboot"}, "device.host must be"),
        ({"ssh_options": {"StrictHostKeyChecking": "no"}}, "always verified"),
        ({"ssh_options": {"User": "pi\nProxyCommand x"}}, "ssh_options must be"),
        ({"host": None}, "needs device.host"),
        ({"transport": "local"}, "needs device.transport=ssh"),
        ({"transport": "carrier_pigeon"}, "must be one of"),
    ],
)
def test_settings_that_would_reach_somewhere_else_are_refused(over_ssh: Over, settings: dict[str, object], reason: str):
    with pytest.raises(ConfigError, match=reason):
        over_ssh(**settings)


def test_a_folder_with_spaces_quotes_and_a_newline_is_one_folder(over_ssh: Over, tmp_path: Path, exported_model: Path):
    folder = tmp_path / 'it\'s $HOME "here"\n; exit 3'
    with devices.opened(over_ssh(folder=str(folder))) as host:
        assert Path(host.put(exported_model)).parent.parent == folder


def test_a_login_shell_that_talks_is_named(over_ssh: Over, tmp_path: Path):
    chatty = tmp_path / "chatty"
    chatty.write_text(f'#!/bin/sh\necho "Welcome to the board!"\nexec {sys.executable} "$@"\n')
    chatty.chmod(0o755)
    with pytest.raises(DeviceSetupError, match=r"Welcome to the board(.|\n)*\.bashrc"):
        SshHost(over_ssh(python=str(chatty)))


def test_a_relative_folder_lies_in_the_home_there(over_ssh: Over, exported_model: Path, tmp_path: Path):
    folder = f"{os.path.relpath(tmp_path, Path.home())}/relative"
    with devices.opened(over_ssh(folder=folder)) as host:
        worker = host.open_worker("tester", threads=1)
        load(worker, exported_model)
        worker.close()
    assert len(list((tmp_path / "relative" / "exported_models").iterdir())) == 1


def test_a_device_that_is_not_what_its_name_says_is_refused(over_ssh: Over):
    config = over_ssh(name="raspberry_pi_5", tier="edge", recognise=Recognition(board="^Raspberry Pi 5"))
    with (
        devices.opened(config) as host,
        pytest.raises(DeviceMismatchError, match=r"is not the machine at 127\.0\.0\.1"),
    ):
        devices.resolve(config, hardware=host.hardware, known=())


def test_a_name_without_a_rule_is_refused(over_ssh: Over):
    config = over_ssh(name="my_board")
    with devices.opened(config) as host, pytest.raises(ConfigError, match=r"recognition rule(.|\n)*device.recognise"):
        devices.resolve(config, hardware=host.hardware, known=())


def test_a_python_that_is_not_there_or_has_no_numpy_is_named(over_ssh: Over, tmp_path: Path):
    with pytest.raises(DeviceSetupError, match="has no program 'python9'"):
        SshHost(over_ssh(python="python9"))
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(DeviceSetupError, match="has no numpy: run"):
        SshHost(over_ssh(python=str(bare)))


def test_a_runtime_that_is_not_there_is_named(over_ssh: Over, exported_model: Path, tmp_path: Path):
    site = Path(np.__file__).parent.parent
    (tmp_path / "site").mkdir()
    for name in ("numpy", "numpy.libs"):
        if (site / name).exists():
            (tmp_path / "site" / name).symlink_to(site / name)
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path / "site"}" exec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with devices.opened(over_ssh(python=str(bare))) as host:
        worker = host.open_worker("tester", threads=1)
        with pytest.raises(DeviceSetupError, match=r"127\.0\.0\.1 has no package 'onnxruntime'"):
            load(worker, exported_model)


def test_a_worker_of_another_version_is_refused(over_ssh: Over, tmp_path: Path):
    """A Python that always runs a worker of another version, like a wrong wrapper on a board."""
    old = tmp_path / "old.pyz"
    old.write_bytes(worker_archive().content.replace(b"PROTOCOL_VERSION = ", b"PROTOCOL_VERSION =1"))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || {{ shift; set -- {old} "$@"; }}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(WorkerVersionError, match="a different worker than this version's"):
        SshHost(over_ssh(python=str(python)))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_device_is_a_clear_error_and_keeps_nothing(over_ssh: Over, device_folder: Path, exported_model: Path):
    with small_disk(device_folder, "400k"):
        with devices.opened(over_ssh()) as host:
            filler = device_folder / "filler"
            filler.write_bytes(bytes(os.statvfs(device_folder).f_bavail * os.statvfs(device_folder).f_bsize - 4096))
            with pytest.raises(DeviceFullError, match=r"is full(.|\n)*prune"):
                host.put(exported_model)
            until(lambda: not any((device_folder / "exported_models").glob("*")), "a half copy was left")
            filler.unlink()
            assert content_key(Path(host.put(exported_model))) == content_key(exported_model)
        until(lambda: not of_this_test(device_folder), "something still runs")


def test_a_device_that_is_full_from_the_start_is_refused(over_ssh: Over, device_folder: Path):
    with small_disk(device_folder, "16k"), pytest.raises(DeviceFullError, match="is full"):
        SshHost(over_ssh())


def test_a_cut_connection_is_told_apart_and_the_worker_there_ends(
    host: SshHost, sshd: Sshd, device_folder: Path, exported_model: Path
):
    worker = host.open_worker("tester", threads=1)
    pid = worker.request("hello", timeout_s=LONG_S)["pid"]
    load(worker, exported_model)
    sshd.cut()
    with pytest.raises(TransportLostError, match="was lost"):
        worker.request("run_block", timeout_s=LONG_S, runs=10)
    worker.close()
    until(lambda: not psutil.pid_exists(pid), "the worker outlived its connection")
    host.close()
    until(lambda: is_clean(device_folder), "something was left on the device")


def test_a_worker_that_is_killed_there_is_no_lost_connection(host: SshHost, device_folder: Path, exported_model: Path):
    worker = host.open_worker("model's worker", threads=1)
    os.kill(worker.request("hello", timeout_s=LONG_S)["pid"], signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"model's worker on 127.0.0.1 was killed by SIGKILL") as caught:
        load(worker, exported_model)
    assert type(caught.value) is WorkerError
    host.close()
    until(lambda: is_clean(device_folder), "something was left on the device")


def test_a_worker_that_hangs_there_is_ended_with_its_connection(host: SshHost, device_folder: Path):
    worker = host.open_worker("tester", threads=1)
    pid = worker.request("hello", timeout_s=LONG_S)["pid"]
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match="did not respond within 1 s"):
        worker.request("hello", timeout_s=1)
    until(lambda: not psutil.pid_exists(pid), "the stopped worker was left")
    host.close()
    until(lambda: is_clean(device_folder), "something was left on the device")


def test_a_worker_past_its_memory_limit_is_ended_there(host: SshHost, device_folder: Path):
    reason = r"killed by SIGKILL(.|\n)*out of memory: it used \d+ MiB, the limit is 1 MiB"
    with pytest.raises(WorkerError, match=reason):
        host.open_worker("tester", threads=1, memory_limit_mib=1)
    host.close()
    until(lambda: is_clean(device_folder), "something was left on the device")


CONTROLLER = """
import sys, time
from frm_mlflow.config import DeviceConfig
from frm_mlflow import devices
config = DeviceConfig(**{settings!r})
with devices.opened(config) as host:
    worker = host.open_worker("orphan", threads=1)
    print(worker.request("hello", timeout_s=60)["pid"], flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_where_the_controller_is_killed(over_ssh: Over, sshd: Sshd, device_folder: Path):
    settings = sshd.device(name="cpu", tier="cpu", kind="cpu", python=sys.executable, folder=str(device_folder))
    command = [sys.executable, "-c", CONTROLLER.format(settings=settings)]
    controller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert controller.stdout is not None
    there = int(controller.stdout.readline())
    words = [word for child in psutil.Process(controller.pid).children() for word in child.cmdline()]
    socket = Path(next(word for word in words if word.startswith("ControlPath=")).partition("=")[2])
    assert socket.is_socket()
    controller.kill()
    controller.wait()
    controller.stdout.close()
    until(lambda: not psutil.pid_exists(there), "the worker outlived its controller")
    until(lambda: is_clean(device_folder), "something was left on the device")
    until(lambda: not sshd.sessions(), "the connection still stands")
    until(lambda: not socket.exists(), "the connection's socket was left")


def test_only_the_leftovers_of_killed_copies_are_removed(over_ssh: Over, device_folder: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"exported_models/.incoming-{dead.pid}", f"scratch/{dead.pid}", f"scratch/{os.getpid()}"):
        (device_folder / name).mkdir(parents=True)
    with devices.opened(over_ssh()):
        assert [place.name for place in (device_folder / "scratch").iterdir()] == [str(os.getpid())]
        assert not any((device_folder / "exported_models").iterdir())


def test_pruning_removes_what_was_not_used(host: SshHost, device_folder: Path, exported_model: Path):
    host.put(exported_model)
    assert host.prune(older_than_s=3600) == ([], 0)
    os.utime(device_folder / "exported_models" / content_key(exported_model), (0, 0))
    removed, size = host.prune(older_than_s=3600)
    assert removed == [content_key(exported_model)]
    assert size > 0
    assert not any((device_folder / "exported_models").iterdir())
