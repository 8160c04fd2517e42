"""`CUDA_VISIBLE_DEVICES` as CUDA reads it: torch's interpretation is the oracle for ordinals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frm_mlflow.worker.nvml import visible_entries

GPUS = [f"GPU-{k:08d}-aaaa-bbbb-cccc-dddddddddddd" for k in range(3)]
MIGS = ["MIG-00000000-aaaa-bbbb-cccc-dddddddddddd", "MIG-00000001-aaaa-bbbb-cccc-dddddddddddd"]
NUMBERS = ["0", "1", "2"]


@pytest.mark.parametrize(
    ("variable", "entries"),
    [
        ("1", ["1"]),
        (" 2 , 0 ", ["2", "0"]),
        ("0,-1,1", ["0"]),
        ("-1", []),
        ("", []),
        ("nonsense", []),
        ("0,nonsense,1", ["0"]),
        ("0,7,1", ["0"]),
        ("0,0", []),
        ("1gpu2,2ampere", ["1", "2"]),
        ("GPU-00000002", [GPUS[2]]),
        ("GPU-00000002,GPU-00000000-aaaa", [GPUS[2], GPUS[0]]),
        ("GPU-0000000", []),
        ("GPU-ffffffff", []),
        (MIGS[1], [MIGS[1]]),
        ("MIG-00000000", [MIGS[0]]),
    ],
)
def test_entries_count_up_to_the_first_that_cuda_refuses(variable: str, entries: list[str]):
    assert visible_entries(variable, numbers=NUMBERS, uuids=GPUS + MIGS) == entries


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["0", "1", "2", "3", "9", "-1", "+1", "1x", "x", "", " 0"]), min_size=1, max_size=4))
def test_ordinals_are_read_as_torch_reads_them(entries: list[str]):
    import torch

    variable = ",".join(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", variable)
        theirs = torch.cuda._parse_visible_devices()
    there = [str(number) for number in theirs]
    first_missing = next((k for k, number in enumerate(there) if number not in NUMBERS), len(there))
    if "3" in variable or "9" in variable:  # torch, like CUDA, drops numbers without a card only later
        repeated = there == []
        assert visible_entries(variable, numbers=NUMBERS, uuids=GPUS) == there[:first_missing] or repeated
        return
    assert visible_entries(variable, numbers=NUMBERS, uuids=GPUS) == there


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        ("1", ["B"]),
        ("1,0", ["B", "A"]),
        ("GPU-00000001", ["B"]),
        ("GPU-00000001,nonsense,GPU-00000000", ["B"]),
        ("-1", []),
        ("", []),
    ],
)
def test_cards_are_numbered_among_the_visible_ones(variable: str, names: list[str], ask):
    program = "import json; from frm_mlflow.worker import accelerator\n"
    program += "print(json.dumps([c.name for c in accelerator.cards().usable]))"
    assert ask(program, FAKE_GPUS="A|1000;B|1000", CUDA_VISIBLE_DEVICES=variable) == names


def test_mig_instances_are_selected_by_their_own_numbers(ask):
    program = "import json; from frm_mlflow.worker import accelerator\n"
    program += "print(json.dumps([[c.name, c.selector] for c in accelerator.cards().usable]))"
    fakes = {"FAKE_GPUS": "NVIDIA A100-SXM4-80GB|81920", "FAKE_MIG": "1g.10gb|9856,3g.40gb|40192"}
    one = ask(program, **fakes, CUDA_VISIBLE_DEVICES=MIGS[1])
    assert one == [["NVIDIA A100-SXM4-80GB MIG 3g.40gb", MIGS[1]]]
    whole = ask(program, **fakes, CUDA_VISIBLE_DEVICES="0")
    assert whole == [["NVIDIA A100-SXM4-80GB MIG 1g.10gb", MIGS[0]]]
