from __future__ import annotations

import re

import pytest

from frm_mlflow.config import DeviceConfig, Recognition
from frm_mlflow.devices import Gpu, Hardware, catalogue, known_devices, resolve
from frm_mlflow.errors import ConfigError, DeviceMismatchError

AUTO = DeviceConfig("auto", None, "auto")
CPU = DeviceConfig("cpu", "cpu", "cpu")
CUDA = DeviceConfig("cuda", "gpu", "cuda")
BY_NAME = {config.name: config for config in known_devices()}


def gib_of(name: str) -> int:
    """Return the memory size in the name, else that of a GeForce RTX 4090."""
    size = re.search(r"(\d+) ?GB", name)
    return int(size[1]) if size else 24


def machine(*gpus: str, cpu: str = "AMD EPYC 7763", azure: str = "", **facts: str) -> Hardware:
    found = tuple(Gpu(index, name, gib_of(name) * 1024.0, "580.1") for index, name in enumerate(gpus))
    return Hardware(
        cpu=cpu, physical_cores=8, logical_cores=16, allowed_cpus=tuple(range(16)), memory_mib=1, gpus=found,
        azure_vm_size=azure, **facts,
    )  # fmt: skip


NVML_NAMES = {
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA A100-SXM4-40GB": "a100_40gb",
    "NVIDIA A100-SXM-64GB": "a100_64gb",
    "NVIDIA A100 80GB PCIe": "a100_pcie_80gb",
    "NVIDIA A100-PCIE-40GB": "a100_pcie_40gb",
    "NVIDIA A100-SXM4-80GB MIG": "cuda",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H100 PCIe": "cuda",
    "NVIDIA H100 NVL": "cuda",
    "NVIDIA H200": "h200",
    "NVIDIA H200 NVL": "cuda",
    "NVIDIA GH200 480GB": "cuda",
    "NVIDIA L40S": "l40s",
    "NVIDIA L40": "cuda",
    "NVIDIA GeForce RTX 3090": "rtx_3090",
    "NVIDIA GeForce RTX 3090 Ti": "cuda",
    "NVIDIA GeForce RTX 4090": "rtx_4090",
    "NVIDIA GeForce RTX 4090 D": "cuda",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "cuda",
    "NVIDIA GeForce RTX 5090": "rtx_5090",
    "NVIDIA GeForce RTX 5090 D": "cuda",
    "NVIDIA RTX 6000 Ada Generation": "rtx_6000_ada",
    "NVIDIA RTX A6000": "cuda",
    "Tesla T4": "cuda",
}


@pytest.mark.parametrize(("name", "device"), NVML_NAMES.items())
def test_auto_takes_the_recognised_device_and_no_sibling_of_it(name: str, device: str):
    found = resolve(AUTO, hardware=machine(name), known=known_devices())
    assert (found.name, found.tier, found.kind, found.chip, found.compute_unit) == (device, "gpu", "cuda", name, "gpu")


@pytest.mark.parametrize("size", ["D16s_v3", "D16s_v5", "E16s_v3", "E16s_v5"])
def test_azures_sizes_are_recognised_by_its_own_word(size: str):
    found = resolve(AUTO, hardware=machine(azure=f"Standard_{size}"), known=known_devices())
    assert (found.name, found.tier, found.kind) == (f"azure_{size.lower()}", "cpu", "cpu")
    assert resolve(AUTO, hardware=machine(azure=f"Standard_{size}s"), known=known_devices()).name == "cpu"


def test_the_paper_has_eight_gpus_and_four_cpus():
    tiers = [config.tier for name, config in BY_NAME.items() if (f := catalogue.find(name)) is not None and f.in_paper]
    assert (tiers.count("gpu"), tiers.count("cpu")) == (8, 4)


def test_auto_without_a_gpu_is_the_processor():
    found = resolve(AUTO, hardware=machine(), known=known_devices())
    assert (found.name, found.tier, found.kind, found.chip) == ("cpu", "cpu", "cpu", "AMD EPYC 7763")


def test_a_named_device_is_taken_where_it_is_there():
    assert resolve(BY_NAME["h200"], hardware=machine("NVIDIA H200"), known=known_devices()).name == "h200"
    assert resolve(CPU, hardware=machine("NVIDIA H200"), known=known_devices()).name == "cpu"


def test_the_index_chooses_among_gpus():
    two = machine("Tesla T4", "NVIDIA L40S")
    second = DeviceConfig("auto", None, "auto", index=1)
    assert resolve(second, hardware=two, known=known_devices()).name == "l40s"
    assert resolve(AUTO, hardware=two, known=known_devices()).name == "cuda"


@pytest.mark.parametrize(
    ("config", "hardware", "words"),
    [
        (BY_NAME["a100"], machine(), ["device=a100", "no NVIDIA GPU", "device=cpu"]),
        (BY_NAME["a100"], machine("NVIDIA H200"), ["device=a100", "NVIDIA H200", "device=h200"]),
        (BY_NAME["azure_d16s_v3"], machine(), ["Standard_D16s_v3", "AMD EPYC 7763"]),
        (CUDA, machine(), ["device=cuda", "none can be used"]),
        (DeviceConfig("cuda", "gpu", "cuda", index=3), machine("Tesla T4"), ["GPU 3", "are 0 (Tesla T4)"]),
    ],
)
def test_another_machine_is_refused_in_one_sentence(config: DeviceConfig, hardware: Hardware, words: list[str]):
    with pytest.raises(DeviceMismatchError) as caught:
        resolve(config, hardware=hardware, known=known_devices())
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert message.count(". ") == 0
    assert message.endswith(".")
    assert caught.value.exit_code == 2


def test_memory_and_processor_rules_hold_too():
    small = DeviceConfig("t4", "gpu", "cuda", Recognition(gpu="T4", gpu_memory_gib=[14, 17]))
    with pytest.raises(DeviceMismatchError, match="14 to 17 GiB"):
        resolve(small, hardware=machine("Tesla T4"), known=())
    milan = DeviceConfig("milan", "cpu", "cpu", Recognition(cpu=r"EPYC 77\d3"))
    assert resolve(milan, hardware=machine(), known=()).name == "milan"
    with pytest.raises(DeviceMismatchError, match=r"EPYC 77"):
        resolve(milan, hardware=machine(cpu="Intel Xeon"), known=())


PI_5 = {"cpu": "Cortex-A76", "board": "Raspberry Pi 5 Model B Rev 1.0", "arch": "aarch64"}
BOARDS = {
    "Raspberry Pi 5 Model B Rev 1.0": "raspberry_pi_5",
    "Raspberry Pi 4 Model B Rev 1.5": "raspberry_pi_4",
    "Raspberry Pi Zero 2 W Rev 1.0": "cpu",
    "NVIDIA Jetson AGX Orin Developer Kit": "jetson_agx_orin",
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super": "jetson_orin_nano",
    "NVIDIA Jetson Orin NX Engineering Reference Developer Kit": "cpu",
}


@pytest.mark.parametrize(("board", "device"), BOARDS.items())
def test_a_board_is_recognised_by_its_device_tree(board: str, device: str):
    found = resolve(AUTO, hardware=machine(board=board, arch="aarch64"), known=known_devices())
    assert (found.name, found.chip) == (device, board)


def test_an_emulated_board_is_never_that_board():
    emulated = machine(**PI_5, emulator="qemu-user")
    for config in (BY_NAME["raspberry_pi_5"], CPU):
        with pytest.raises(DeviceMismatchError, match="emulated by qemu-user"):
            resolve(config, hardware=emulated, known=known_devices())
    found = resolve(AUTO, hardware=emulated, known=known_devices())
    assert (found.name, found.chip) == ("emulated_aarch64", "aarch64 by qemu-user on Cortex-A76")
    with pytest.raises(DeviceMismatchError, match="needs a processor emulated by"):
        resolve(BY_NAME["emulated_aarch64"], hardware=machine(**PI_5), known=known_devices())


def test_architecture_and_board_rules_hold():
    board = DeviceConfig("mine", "edge", "cpu", Recognition(arch="aarch64", board="Pi 5"))
    assert resolve(board, hardware=machine(**PI_5), known=()).name == "mine"
    with pytest.raises(DeviceMismatchError, match="architecture aarch64, and this is x86_64"):
        resolve(board, hardware=machine(arch="x86_64"), known=())
    with pytest.raises(DeviceMismatchError, match="board whose name matches 'Pi 5'"):
        resolve(board, hardware=machine(arch="aarch64"), known=())


def test_a_name_that_nothing_recognises_is_refused():
    with pytest.raises(ConfigError, match=r"device=mine has no recognition rule"):
        resolve(DeviceConfig("mine", "cpu", "cpu"), hardware=machine(), known=())
