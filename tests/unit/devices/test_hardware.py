from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from frm_mlflow.devices.hardware import AZURE_ASSET_TAG, allowed_cpus, physical_cores, probe


def file(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def refuse(url: str) -> str:
    raise AssertionError("the network must not be asked")


def test_siblings_of_a_core_count_once(tmp_path: Path):
    for cpu in range(4):
        file(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 2},{cpu % 2 + 2}\n")
    assert physical_cores((0, 1, 2, 3), root=tmp_path) == 2
    assert physical_cores((0, 2), root=tmp_path) == 1


def test_without_topology_every_processor_counts(tmp_path: Path):
    assert physical_cores((0, 1, 2), root=tmp_path) == 3


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no /proc")
@pytest.mark.parametrize(
    ("info", "brand"),
    [
        ("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8370C CPU\n", "Intel(R) Xeon(R) Platinum 8370C CPU"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\n\nModel\t\t: Raspberry Pi 5 Model B\n", "Raspberry Pi 5 Model B"),
    ],
)
def test_the_processors_brand_is_read(tmp_path: Path, info: str, brand: str):
    file(tmp_path, "proc/cpuinfo", info)
    assert probe(root=tmp_path, fetch=refuse).cpu == brand


def test_azure_is_asked_only_where_the_firmware_says_azure(tmp_path: Path):
    asked = []

    def fetch(url: str) -> str:
        asked.append(url)
        return "Standard_D16s_v5\n"

    assert probe(root=tmp_path, fetch=fetch).azure_vm_size == ""
    assert asked == []
    file(tmp_path, "sys/class/dmi/id/chassis_asset_tag", AZURE_ASSET_TAG + "\n")
    assert probe(root=tmp_path, fetch=fetch).azure_vm_size == "Standard_D16s_v5"
    assert asked[0].startswith("http://169.254.169.254/")


def test_azure_that_does_not_answer_is_no_size(tmp_path: Path):
    def fetch(url: str) -> str:
        raise TimeoutError

    file(tmp_path, "sys/class/dmi/id/chassis_asset_tag", AZURE_ASSET_TAG)
    assert probe(root=tmp_path, fetch=fetch).azure_vm_size == ""


def test_a_board_tells_its_name(tmp_path: Path):
    file(tmp_path, "proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    assert probe(root=tmp_path, fetch=refuse).board == "NVIDIA Jetson AGX Orin Developer Kit"


def test_this_machine_can_be_described():
    hardware = probe()
    assert hardware.allowed_cpus == allowed_cpus()
    assert 1 <= hardware.physical_cores <= hardware.logical_cores == os.cpu_count()
    assert hardware.memory_mib > 256
    assert hardware.cpu in hardware.describe()
