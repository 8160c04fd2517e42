"""Jobs of a fleet on one host with several cards: each is pinned to a card that no other job has."""

from __future__ import annotations

import pytest

A100, T4 = "NVIDIA A100-SXM4-80GB|81920", "Tesla T4|15360"

JOBS = """
import json, os, sys
from omegaconf import OmegaConf
from frm_mlflow import devices
from frm_mlflow.launcher.job_process import pin_card

overrides, n_jobs = json.loads(sys.argv[1]), int(sys.argv[2])
settings = next(d for d in devices.known_devices() if d.name == "a100")
config = OmegaConf.create({"device": OmegaConf.structured(settings)})
results, ready = os.pipe()
hold, release = os.pipe()
for _ in range(n_jobs):
    if os.fork() == 0:
        os.close(release)
        pin_card(config, overrides)
        device = devices.resolve(settings, hardware=devices.probe(), known=devices.known_devices())
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        os.write(ready, (json.dumps([device.name, device.uuid, device.index, visible]) + "\\n").encode())
        os.read(hold, 1)  # the claim lasts as long as the process
        os._exit(0)
with os.fdopen(results) as lines:
    print(json.dumps([json.loads(lines.readline()) for _ in range(n_jobs)]))
"""


def uuid(number: int) -> str:
    """Return the UUID that the stand-in for NVML gives to a card."""
    return f"GPU-{number:08d}-aaaa-bbbb-cccc-dddddddddddd"


def test_eight_jobs_run_on_eight_different_cards(ask):
    jobs = ask(JOBS, "[]", "8", FAKE_GPUS=";".join([A100] * 8))
    assert sorted(card for _, card, _, _ in jobs) == [uuid(k) for k in range(8)]
    assert all(visible == card and index == 0 for _, card, index, visible in jobs), "no card is visible to two jobs"


def test_only_cards_of_the_jobs_device_are_claimed(ask):
    jobs = ask(JOBS, "[]", "2", FAKE_GPUS=f"{T4};{A100};{T4};{A100}")
    assert sorted(card for _, card, _, _ in jobs) == [uuid(1), uuid(3)]


def test_a_job_without_a_free_card_waits_for_its_turn(ask):
    jobs = ask(JOBS, "[]", "3", FAKE_GPUS=f"{A100};{A100}")
    assert sorted(visible for *_, visible in jobs) == ["", uuid(0), uuid(1)]


@pytest.mark.parametrize("index", ["device.index=0", "+device.index=0"])
def test_a_card_that_the_user_has_set_is_kept(index: str, ask):
    jobs = ask(JOBS, f'["{index}"]', "2", FAKE_GPUS=f"{A100};{A100}")
    assert [visible for *_, visible in jobs] == ["", ""]


def test_a_card_has_one_lock_whatever_its_index_is(ask):
    program = "import json; from frm_mlflow import devices; from frm_mlflow.config import DeviceConfig\n"
    program += "from frm_mlflow.devices.turn import local_name\n"
    program += "auto = DeviceConfig('auto', None, 'auto')\n"
    program += "device = devices.resolve(auto, hardware=devices.probe(), known=devices.known_devices())\n"
    program += "print(json.dumps([device.index, local_name(device)]))"
    cards = {"FAKE_GPUS": f"{A100};{A100}"}
    second = ask(program.replace("'auto')\n", "'auto', index=1)\n"), **cards)
    assert second == [1, f"gpu-{uuid(1)}"]
    assert ask(program, CUDA_VISIBLE_DEVICES="1", **cards) == [0, second[1]]
    assert ask(program, CUDA_VISIBLE_DEVICES=uuid(1), **cards) == [0, second[1]]
