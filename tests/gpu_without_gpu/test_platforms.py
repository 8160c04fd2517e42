"""What `doctor`, `device=auto` and `device=a100` do on each platform, with the real pynvml over a stand-in for NVML."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

A100_80, A100_40 = "NVIDIA A100-SXM4-80GB|81920", "NVIDIA A100-SXM4-40GB|40960"
H100 = "NVIDIA H100 80GB HBM3|81559"
T4 = "Tesla T4|15360"

ASK = """
import json, sys
from frm_mlflow import devices
from frm_mlflow.config import DeviceConfig
from frm_mlflow.errors import FrmError
from frm_mlflow.runners import doctor
known = devices.known_devices()
by_name = {c.name: c for c in known} | {"auto": DeviceConfig("auto", None, "auto")}
hardware = devices.probe()
def resolved(name):
    try:
        d = devices.resolve(by_name[name], hardware=hardware, known=known)
    except FrmError as error:
        return {"refused": str(error)}
    return {"name": d.name, "kind": d.kind, "tier": d.tier, "chip": d.chip, "notes": d.notes, "selector": d.selector}
auto = devices.resolve(by_name["auto"], hardware=hardware, known=known)
rows = doctor._hardware(hardware, auto)
print(json.dumps({"auto": resolved("auto"), "a100": resolved("a100"),
                  "doctor": "\\n".join(f"{r.subject}: {r.found}" for r in rows)}))
"""


@dataclass(frozen=True)
class Platform:
    """What NVML reports on a platform, and the expected results."""

    name: str
    fakes: dict[str, str]
    auto: dict[str, str]
    a100: str
    """The run's device name with device=a100, or a word of the error message."""
    doctor: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


NOT_A100 = "is not this machine"
PLATFORMS = [
    Platform("A100 80 GB", {"FAKE_GPUS": A100_80}, {"name": "a100", "kind": "cuda"}, "a100", ("80 GiB", "CUDA 13.0")),
    Platform("A100 40 GB", {"FAKE_GPUS": A100_40}, {"name": "a100_40gb"}, "a100_40gb", ("A100-SXM4-40GB, 40 GiB",)),
    Platform("H100 SXM", {"FAKE_GPUS": H100}, {"name": "h100"}, NOT_A100, ("H100 80GB HBM3",)),
    Platform("eight A100", {"FAKE_GPUS": ";".join([A100_80] * 8)}, {"name": "a100"}, "a100", ("gpu 7: NVIDIA A100",)),
    Platform(
        "MIG with rights",
        {"FAKE_GPUS": A100_80, "FAKE_MIG": "1g.10gb|9856,3g.40gb|40192"},
        {"name": "cuda", "chip": "NVIDIA A100-SXM4-80GB MIG 1g.10gb"},
        NOT_A100,
        ("gpu 0: NVIDIA A100-SXM4-80GB MIG 1g.10gb, 10 GiB", "gpu 1: NVIDIA A100-SXM4-80GB MIG 3g.40gb, 39 GiB"),
    ),
    Platform(
        "MIG without rights",
        {"FAKE_GPUS": A100_80, "FAKE_MIG": "denied"},
        {"name": "cuda", "chip": "NVIDIA A100-SXM4-80GB MIG"},
        NOT_A100,
        ("MIG, memory unknown",),
    ),
    Platform(
        "MIG without instances",
        {"FAKE_GPUS": A100_80, "FAKE_MIG": "none"},
        {"name": "cpu", "kind": "cpu"},
        "has no instances",
        ("nvidia-smi mig -i 0 -cgi",),
        ("has no instances",),
    ),
    Platform(
        "GB10",
        {"FAKE_GPUS": "NVIDIA GB10|0", "FAKE_RC_Memory": "3", "FAKE_RC_Power": "3", "FAKE_RC_MigMode": "3"},
        {"name": "cuda", "chip": "NVIDIA GB10"},
        NOT_A100,
        ("NVIDIA GB10, memory unknown",),
    ),
    Platform(
        "Jetson with JetPack 6",
        {"FAKE_GPUS": "Orin (nvgpu)|62841", "FAKE_RC_Memory": "3", "FAKE_RC_Processes": "3", "FAKE_RC_Clock": "3"},
        {"name": "cuda", "chip": "Orin (nvgpu)", "selector": "0"},
        NOT_A100,
        ("Orin (nvgpu), memory unknown",),
    ),
    Platform(
        "Thor",
        {"FAKE_GPUS": "NVIDIA Thor|0", "FAKE_RC_Memory": "3", "FAKE_RC_UUID": "3", "FAKE_RC_Driver": "3"},
        {"name": "cuda", "chip": "NVIDIA Thor", "selector": "0"},
        NOT_A100,
        ("driver unknown",),
    ),
    Platform(
        "WSL2",
        {"FAKE_GPUS": "NVIDIA GeForce RTX 4090|24564", "FAKE_RC_Processes": "3", "FAKE_RC_MigMode": "3"},
        {"name": "rtx_4090"},
        NOT_A100,
        ("RTX 4090, 24 GiB",),
    ),
    Platform(
        "RTX 4090 with 48 GB", {"FAKE_GPUS": "NVIDIA GeForce RTX 4090|49140"}, {"name": "rtx_4090_48gb"}, NOT_A100
    ),
    Platform("container", {"FAKE_GPUS": A100_80, "FAKE_PID": "4000000"}, {"name": "a100"}, "a100"),
    Platform(
        "one of two cards is lost",
        {"FAKE_GPUS": f"{A100_80};{A100_80}", "FAKE_RC_Handle0": "15"},
        {"name": "a100"},
        "a100",
        ("GPU 0 is there but cannot be used: it has fallen off the bus",),
    ),
    Platform(
        "a card without permission",
        {"FAKE_GPUS": A100_80, "FAKE_RC_Handle0": "4"},
        {"name": "cpu"},
        "no permission",
        ("no permission",),
        ("device=auto takes the processor", "no permission"),
    ),
    Platform(
        "a prohibited card",
        {"FAKE_GPUS": A100_80, "FAKE_COMPUTE_MODE": "2"},
        {"name": "cpu"},
        "nvidia-smi -i 0 -c DEFAULT",
        ("compute mode is prohibited",),
        ("takes the processor",),
    ),
    Platform(
        "a card that CUDA_VISIBLE_DEVICES hides",
        {"FAKE_GPUS": A100_80, "CUDA_VISIBLE_DEVICES": "-1"},
        {"name": "cpu"},
        "CUDA_VISIBLE_DEVICES=-1 hides 1 GPU",
        ("CUDA_VISIBLE_DEVICES=-1",),
        ("takes the processor",),
    ),
    Platform(
        "two kinds of cards",
        {"FAKE_GPUS": f"{T4};{A100_80}"},
        {"name": "cuda", "chip": "Tesla T4"},
        "set device.index=1",
        ("gpu 1: NVIDIA A100",),
        ("device=auto takes GPU 0, the first by PCI bus",),
    ),
    Platform("no card", {}, {"name": "cpu"}, "no NVIDIA GPU", ("no NVIDIA GPU",)),
]


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p.name)
def test_each_platform_is_recognised_or_named(platform: Platform, ask):
    found = ask(ASK, **platform.fakes)
    assert {key: found["auto"][key] for key in platform.auto} == platform.auto
    assert found["a100"].get("name") == platform.a100 or platform.a100 in found["a100"].get("refused", "")
    assert all(words in found["doctor"] for words in platform.doctor), found["doctor"]
    assert all(words in " ".join(found["auto"]["notes"]) for words in platform.notes), found["auto"]["notes"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "its driver is not loaded: run `sudo modprobe nvidia`"),
        (18, "different versions: restart the machine"),
        (4, "no permission"),
        (999, "run `nvidia-smi`"),
    ],
)
def test_a_driver_that_does_not_start_is_named_beside_a_card(code: int, words: str, ask, tmp_path):
    program = "import json, sys; from pathlib import Path; from frm_mlflow import devices\n"
    program += "h = devices.probe(root=Path(sys.argv[1])); print(json.dumps([h.gpus, h.gpu_problems]))"
    card = tmp_path / "sys/bus/pci/devices/0000:41:00.0"
    assert ask(program, str(tmp_path), FAKE_RC_Init=str(code)) == [[], []], "no card, no complaint"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    gpus, (problem,) = ask(program, str(tmp_path), FAKE_RC_Init=str(code))
    assert gpus == []
    assert words in problem


UNSUPPORTED = ["Memory", "UUID", "Name", "Driver", "Cuda", "MigMode", "Processes", "Temp", "Clock", "Power"]
UNSUPPORTED += ["PowerLimit", "Persistence", "ComputeMode", "Throttle", "Energy", "Capability"]
READ_ALL = """
import json
from frm_mlflow.worker import accelerator as a
card, = a.cards().usable
print(json.dumps([card.selector, a.gpu_conditions(0), a.gpu_settings(0), a.energy_mj(0), a.process_device_mib(0),
                  a.device_used_mib(0)]))
"""


@pytest.mark.parametrize("call", UNSUPPORTED)
def test_the_value_of_an_unsupported_call_is_unknown(call: str, ask):
    selector, conditions, settings, *_ = ask(READ_ALL, FAKE_GPUS=A100_80, **{f"FAKE_RC_{call}": "3"})
    assert selector
    readings = {"Temp": "gpu_temperature_c", "Clock": "gpu_sm_clock_mhz", "Power": "gpu_power_w"}
    readings |= {"Throttle": "gpu_throttle_reasons", "Processes": "gpu_processes"}
    assert {name for name in readings.values() if name not in conditions} == {
        readings[c] for c in [call] if c in readings
    }
    assert ("gpu_power_limit_w" in settings) == (call != "PowerLimit")


def test_a_platform_that_supports_nothing_still_has_its_card(ask):
    fakes = {f"FAKE_RC_{call}": "3" for call in UNSUPPORTED}
    selector, *readings = ask(READ_ALL, FAKE_GPUS=A100_80, **fakes)
    assert (selector, readings) == ("0", [{}, {}, None, None, None])


def test_a_foreign_process_id_is_not_counted_as_this_process(ask):
    own = ask(READ_ALL, FAKE_GPUS=A100_80)
    container = ask(READ_ALL, FAKE_GPUS=A100_80, FAKE_PID="4000000")
    assert own[4:] == [612.0, 500.0]
    assert container[4:] == [None, 500.0]
