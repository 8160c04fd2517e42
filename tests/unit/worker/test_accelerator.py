from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from frm_mlflow.worker import accelerator


class FakeNvml:
    """NVML with two GPUs, the second of which is partitioned into MIG instances."""

    NVML_DEVICE_MIG_ENABLE = 1
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    class NVMLError(Exception):
        pass

    def __init__(self, *, driver_missing: bool = False) -> None:
        self.driver_missing = driver_missing
        self.names = ["NVIDIA H200", b"NVIDIA A100-SXM4-80GB"]
        self.shut = 0

    def nvmlInit(self):  # noqa: N802
        if self.driver_missing:
            raise self.NVMLError

    def nvmlShutdown(self):  # noqa: N802
        self.shut += 1

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "580.1"

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        return ["GPU-0", "GPU-1"].index(uuid)

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=80 * 2**30)

    def nvmlDeviceGetMigMode(self, handle):  # noqa: N802
        if handle == 0:
            raise self.NVMLError
        return [1, 1]

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        mine = SimpleNamespace(pid=os.getpid(), usedGpuMemory=512 * 2**20)
        return [mine, SimpleNamespace(pid=-1, usedGpuMemory=2**30)] if handle == 0 else []

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        return 41

    def nvmlDeviceGetClockInfo(self, handle, clock):  # noqa: N802
        return 1980

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        raise self.NVMLError

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):  # noqa: N802
        return 0


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_gpus_are_named_and_a_partitioned_one_is_marked(nvml: FakeNvml):
    first, second = accelerator.cards().usable
    assert (first.index, first.name, first.memory_mib) == (0, "NVIDIA H200", 80 * 1024)
    assert second.name == "NVIDIA A100-SXM4-80GB MIG"
    assert nvml.shut == 1


@pytest.mark.parametrize(
    ("visible", "names"), [("1", ["GPU-1"]), ("GPU-1,0", ["GPU-1", "GPU-0"]), ("-1", []), ("", [])]
)
def test_the_index_counts_as_cuda_does(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.uuid for card in accelerator.cards().usable] == names


def test_only_this_processs_memory_counts(nvml: FakeNvml):
    assert accelerator.process_device_mib(0) == 512
    assert accelerator.process_device_mib(1) is None


def test_conditions_omit_what_nvml_does_not_report(nvml: FakeNvml):
    found = accelerator.gpu_conditions(0)
    assert found["gpu_temperature_c"] == 41
    assert "gpu_power_w" not in found


def test_without_nvml_or_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(driver_missing=True))
    assert accelerator.cards().usable == ()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert accelerator.cards().usable == ()
    assert accelerator.process_device_mib(0) is None
    assert accelerator.gpu_conditions(0) == {}
