"""A phone over adb, against a fake `adb`: errors as worded in adb's sources, the rest as documented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frm_mlflow import devices, schema
from frm_mlflow.config import DeviceConfig, MeasureConfig, Recognition, RuntimeConfig
from frm_mlflow.devices import Phone
from frm_mlflow.devices.android import conditions_in
from frm_mlflow.errors import (
    ConfigError,
    DeviceFullError,
    DeviceMismatchError,
    DeviceOfflineError,
    DeviceSetupError,
    DeviceUnauthorizedError,
    FrmError,
    TransportLostError,
    WorkerError,
)
from frm_mlflow.measure.result import Measurement
from frm_mlflow.measure.shots import benchmark_by_shots
from tests.fleet.phone import (
    OFFLINE,
    FakePhone,
    benchmark_model,
    interleaved,
    named_on_phone,
    perf_test,
    program,
    text,
)
from tests.measure.small_networks import small_network

ONNX = {"tool": "onnxruntime_perf_test"}
QUICK = MeasureConfig(runs=50, launches=5, timeout_s=120)
UNAUTHORIZED = (
    "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if that seems "
    "wrong.\nOtherwise check for a confirmation dialog on your device.\n"
)
NO_ROOM = (
    "adb: error: failed to copy 'model.onnx' to '/data/local/tmp/frm/.incoming': remote write failed: "
    "No space left on device\n"
)
FULL = [1, "model.onnx: 1 file pushed, 0 skipped.\n", NO_ROOM]
GONE = "adb: device 'R5CW20ABCDE' not found\n"
CUT_OFF = [0, perf_test(0.01), ""]
"""A shot with all its figures but without its last line: adb exits with 0 if the phone is unplugged."""
FAILED_LOG = (
    "INFO: STARTING!\nINFO: Graph: [/data/local/tmp/frm/model.tflite]\n"
    "ERROR: Op builtin_code out of range: 207. Are you using old TFLite binary with newer model?\n"
    "ERROR: Registration failed.\n\nERROR: Failed to initialize interpreter\nERROR: Benchmarking failed.\n"
)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    fake = FakePhone.plugged_in(tmp_path / "adb")
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("frm_mlflow.devices.ssh_connection._PAUSE_S", 0.0)
    return fake


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., DeviceConfig]:
    def build(**settings: object) -> DeviceConfig:
        own = {"name": "phone", "tier": "edge", "kind": "phone", "transport": "adb"}
        binary = str(program(tmp_path, str(settings.get("tool", "benchmark_model"))))
        return DeviceConfig(**(own | {"binary": binary} | settings))  # type: ignore[arg-type]

    return build


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return small_network("onnxruntime", folder / "model"), small_network("onnxruntime", folder / "baseline", width=32)


@pytest.fixture(scope="module")
def litert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    network = small_network("litert", tmp_path_factory.mktemp("networks") / "model")
    return network, network


def shoot(config: DeviceConfig, networks: tuple[Path, Path], runtime: str = "onnxruntime") -> Measurement:
    model, baseline = networks
    with devices.opened(config) as host:
        assert isinstance(host, Phone)
        return benchmark_by_shots(
            exported_model=model,
            baseline=baseline,
            phone=host,
            device=devices.resolve(config, hardware=host.hardware, known=()),
            options=config.tool_options,
            runtime=RuntimeConfig(runtime, threads=4),
            config=QUICK,
            on_progress=lambda message: None,
        )


def test_baseline_and_model_alternate_and_neighbours_are_paired(phone: FakePhone, config, networks):
    model_s = [0.010, 0.011, 0.012, 0.013, 0.014]
    baseline_s = [0.020, 0.021, 0.024, 0.025, 0.028, 0.030]
    names = [named_on_phone(folder / "model.onnx") for folder in networks]
    shots = {names[0]: [perf_test(s) for s in model_s], names[1]: [perf_test(s) for s in baseline_s]}
    phone.replay(shots=shots)
    found = shoot(config(**ONNX), networks)
    assert phone.shots() == [names[1], names[0]] * 5 + [names[1]]
    by_hand = np.array(interleaved(model_s, baseline_s))
    assert found.metrics["ratio/latency"] == pytest.approx(np.median(by_hand), rel=1e-5)
    assert found.metrics["ratio/latency_low"] < np.median(by_hand) < found.metrics["ratio/latency_high"]
    assert found.metrics["latency/p50_ms"] == pytest.approx(12.0)
    assert found.baseline_metrics["latency/p50_ms"] == pytest.approx(24.5)
    assert found.metrics["latency/samples"] == 500
    assert "latency/p95_ms" in found.metrics
    assert found.latency_statistic == "p50"
    assert found.memory_definition == "process_peak"
    assert found.metrics["memory/peak_mib"] == pytest.approx(66793472 / 2**20)
    assert any(reason.startswith("shots differ by") for reason in found.remarks)
    assert list(found.samples["role"]) == ["baseline"] * 6 + ["model"] * 5
    assert found.samples["latency_ms"].iloc[-1] == pytest.approx(14.0)
    assert found.identity.cosine > 0.9999
    assert found.facts["before"]["governors"] == {"policy0": "walt", "policy3": "walt", "policy7": "walt"}
    assert found.runtime_version.startswith("onnxruntime_perf_test ")


def test_litert_reports_the_unit_and_the_growth_of_memory(phone: FakePhone, config, litert):
    phone.replay(shots={"*": [benchmark_model(12931), benchmark_model(13001), benchmark_model(12951)]})
    found = shoot(config(), litert, "litert")
    assert found.layers == "cpu=66"
    assert found.memory_definition == "rss_delta"
    assert found.metrics["memory/peak_mib"] == 28.3125
    assert found.metrics["latency/p50_ms"] == pytest.approx(12.951)
    assert "latency/p95_ms" not in found.metrics  # 78 runs per shot are too few
    command = found.facts["commands"]["model"]
    assert {"--num_threads=4", "--num_runs=10", "--warmup_runs=10", "--max_secs=12"} <= set(command)
    with pytest.raises(WorkerError, match=r"ran nothing on its gpu \(cpu=66\)"):
        shoot(config(tool_options=["--use_gpu=true"]), litert, "litert")


def test_the_phone_is_what_android_reports(phone: FakePhone, config):
    with devices.opened(config()) as host:
        device = devices.resolve(config(), hardware=host.hardware, known=())
        there = host.environment(device)
    assert (device.name, device.tier, device.chip) == ("Samsung Galaxy S23", "edge", "Snapdragon 8 Gen 2")
    assert (host.hardware.logical_cores, host.hardware.arch, host.hardware.os) == (8, "arm64-v8a", "Android 14")
    assert there["state"] == {
        "conditions": {
            "battery_percent": 87.0,
            "battery_temperature_c": pytest.approx(28.4),
            "thermal_status": 0.0,
            "hottest_sensor_c": 44.8,
        },
        "powered_by": "USB",
        "screen": "Asleep",
        "airplane_mode": "1",
        "governors": {"policy0": "walt", "policy3": "walt", "policy7": "walt"},
    }


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"ro.soc.model": "s5e9925"}, "no phone with this name and chip is in the catalogue"),
        ({"ro.product.model": "CPH9999"}, r"device\.recognise\.phone"),
        ({"ro.kernel.qemu": "1"}, "emulated by android-emulator"),
    ],
)
def test_other_chips_unknown_phones_and_emulators_have_no_name(
    phone: FakePhone, config, properties: dict[str, str], reason: str
):
    phone.replay(properties=properties)
    with devices.opened(config()) as host, pytest.raises(DeviceMismatchError, match=reason):
        devices.resolve(config(), hardware=host.hardware, known=())


def test_a_users_device_name_needs_its_rule_to_match(phone: FakePhone, config):
    mine = config(name="my_phone", recognise=Recognition(phone="^SM-S911"))
    other = config(name="my_phone", recognise=Recognition(phone="^Pixel"))
    with devices.opened(mine) as host:
        assert devices.resolve(mine, hardware=host.hardware, known=()).name == "my_phone"
        with pytest.raises(DeviceMismatchError, match="is not this phone"):
            devices.resolve(other, hardware=host.hardware, known=())
        with pytest.raises(ConfigError, match=r"needs device\.recognise\.phone"):
            devices.resolve(config(name="my_phone"), hardware=host.hardware, known=())


@pytest.mark.parametrize(
    ("listing", "serial", "kind", "remedy"),
    [
        ("List of devices attached\n\n", None, DeviceOfflineError, "enable USB debugging"),
        (text("devices_states"), None, ConfigError, r"several phones \(R5CW20ABCDE: device,.*device\.serial=SERIAL"),
        (text("devices_states"), "NOBODY", DeviceOfflineError, "adb finds no phone NOBODY"),
        (text("devices_states"), "emulator-5554", DeviceOfflineError, "adb reconnect offline"),
        (text("devices_states"), "0A091FDD4001XY", DeviceUnauthorizedError, "accept this computer's key"),
        (text("devices_states"), "ZY22ABCDEF", DeviceUnauthorizedError, "udev rules"),
    ],
)
def test_a_state_other_than_ready_names_its_remedy(
    phone: FakePhone, config, listing: str, serial: str | None, kind: type[FrmError], remedy: str
):
    phone.replay(devices=listing)
    with pytest.raises(kind, match=remedy):
        Phone(config(serial=serial))


def test_the_ready_one_of_several_is_taken_by_its_serial(phone: FakePhone, config):
    phone.replay(devices=text("devices_states"))
    assert Phone(config(serial="R5CW20ABCDE")).hardware.phone == "SM-S911B"


def test_files_are_pushed_once_and_a_damaged_one_again(phone: FakePhone, config, networks):
    model = networks[0] / "model.onnx"
    for _ in range(2):
        with devices.opened(config()) as host:
            place = host.put(model)
            host.install()
    assert len([words for words in phone.calls() if words[0] == "push"]) == 2
    assert phone.files == sorted([named_on_phone(model), f"benchmark_model-{host.tool_sha256[:16]}"])
    there = phone.folder / "phone" / place.lstrip("/")
    there.write_bytes(b"half of it")
    with devices.opened(config()) as host:
        host.put(model)
    assert there.read_bytes() == model.read_bytes()


def test_a_full_phone_is_a_clear_error_and_keeps_nothing(phone: FakePhone, config, networks):
    with devices.opened(config()) as host:
        host.install()
        phone.replay(fail={"push": FULL})
        with pytest.raises(DeviceFullError, match=r"is full(.|\n)*device prune"):
            host.put(networks[0] / "model.onnx")
    assert [name for name in phone.files if not name.startswith("benchmark_model-")] == []


def test_pruning_removes_what_was_not_used(phone: FakePhone, config, networks):
    with devices.opened(config()) as host:
        host.put(networks[0] / "model.onnx")
        assert host.prune(older_than_s=3600) == ([], 0)
        removed, size = host.prune(older_than_s=-60)
    assert removed == [named_on_phone(networks[0] / "model.onnx")]
    assert size == (networks[0] / "model.onnx").stat().st_size
    assert phone.files == []


@pytest.mark.parametrize(
    ("fails", "kind", "reason"),
    [
        ({"fail": {"timeout": OFFLINE}}, DeviceOfflineError, "state 'offline'"),
        ({"fail": {"timeout": [1, "", UNAUTHORIZED]}}, DeviceUnauthorizedError, "accept this computer's key"),
        ({"fail": {"timeout": CUT_OFF, "get-state": [1, "", GONE]}}, DeviceOfflineError, "no longer connected"),
        ({"fail": {"timeout": CUT_OFF}}, TransportLostError, "was cut off"),
        ({"fail": {"timeout": [1, "", "error: closed\n"]}}, TransportLostError, "was lost"),
        ({"ends": {"timeout": [124, "", ""]}}, TransportLostError, "did not finish within"),
        ({"ends": {"timeout": [139, "", "Segmentation fault\n"]}}, DeviceSetupError, "exit code 139"),
        ({"ends": {"chmod": [0, "", ""]}}, DeviceSetupError, "does not run onnxruntime_perf_test"),
    ],
)
def test_a_shot_that_fails_is_told_and_never_repeated(
    phone: FakePhone, config, networks, fails: dict[str, dict[str, list[object]]], kind: type[FrmError], reason: str
):
    phone.replay(**fails, shots={"*": [perf_test(0.01)]})
    binary = config(**ONNX)
    Path(str(binary.binary)).chmod(0o644)
    with pytest.raises(kind, match=reason):
        shoot(binary, networks)
    assert len(phone.shots()) == 1
    assert not any(name.startswith(".incoming") for name in phone.files)


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (FAILED_LOG, "benchmark_model reports a failure: ERROR: Failed to initialize interpreter"),
        (benchmark_model(12931)[:900], "is it benchmark_model's output"),
        ("", "is it benchmark_model's output"),
    ],
)
def test_a_program_that_fails_or_is_cut_off_gives_no_figure(
    phone: FakePhone, config, litert, printed: str, reason: str
):
    phone.replay(shots={"*": [printed]})
    with pytest.raises(WorkerError, match=reason):
        shoot(config(), litert, "litert")
    assert len(phone.shots()) == 1


def test_a_step_that_measures_nothing_is_tried_again(phone: FakePhone, config, networks):
    phone.replay(fail={"push": [1, "", "error: closed\n"]}, fail_once="push")
    with devices.opened(config()) as host:
        host.put(networks[0] / "model.onnx")
    assert len([words for words in phone.calls() if words[0] == "push"]) == 2


def test_a_phone_that_is_hot_is_flagged(phone: FakePhone, config, networks):
    hot = text("dumpsys_thermalservice").replace("Thermal Status: 0", "Thermal Status: 3")
    phone.replay(shots={"*": [perf_test(0.01)]}, answers={"dumpsys thermalservice": hot})
    assert "thermal status 3" in shoot(config(**ONNX), networks).remarks


def test_settings_that_do_not_go_together_are_refused(phone: FakePhone, config, networks, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"needs device\.binary"):
        Phone(config(binary=None))
    with pytest.raises(ConfigError, match="is not a file"):
        Phone(config(binary=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match="so choose runtime=litert"):
        shoot(config(), networks, "onnxruntime")
    with pytest.raises(ConfigError, match="go together"):
        config(transport="local")
    with devices.opened(config()) as host, pytest.raises(ConfigError, match="not supported on phones"):
        devices.with_workers(host, "accuracy=measured")


def test_a_model_of_several_files_is_refused(phone: FakePhone, config, tmp_path: Path):
    network = small_network("onnxruntime", tmp_path / "network")
    (network / "model.onnx.data").write_bytes(b"weights")
    with pytest.raises(ConfigError, match=r"more than one file \(model\.onnx\.data\)"):
        shoot(config(**ONNX), (network, network))


def test_without_adb_the_package_is_named(config, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"needs `adb` on the PATH.*platform-tools"):
        Phone(config())


def test_what_a_phone_keeps_to_itself_is_absent():
    assert conditions_in("", "") == {}
    assert conditions_in("  level: 50\n", "Thermal Status: 1\n") == {"thermal_status": 1.0}
    assert schema.LAYERS.column == "layers"
