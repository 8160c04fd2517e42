"""The configuration that a target is assumed to run, and the command that measures on it."""

import shlex

import pandas as pd
import pytest

from frm_mlflow.errors import DataError
from frm_mlflow.prediction import Target
from frm_mlflow.target import completed, measuring_command


def rows(*cells: tuple[str, str, str, str]) -> pd.DataFrame:
    """One row per (device, runtime, precision, compute unit), with the catalogue's tier, chip and generation."""
    facts = {
        "Samsung Galaxy S24": ("edge", "Snapdragon 8 Gen 3 for Galaxy", "hexagon-v75"),
        "Xiaomi 13": ("edge", "Snapdragon 8 Gen 3", "hexagon-v75"),
        "a100": ("gpu", "NVIDIA A100-SXM4-80GB", "ampere"),
        "raspberry_pi_4": ("edge", "Broadcom BCM2711", "cortex-a72"),
        "my_board": ("edge", "own", "own"),
    }
    table = pd.DataFrame(cells, columns=["device", "runtime", "precision", "compute_unit"])
    table[["tier", "chip", "generation"]] = [facts[device] for device in table["device"]]
    return table


NPU = ("Samsung Galaxy S24", "qnn_dlc", "int8", "npu")
CPU = ("Samsung Galaxy S24", "litert", "fp32", "cpu")


def test_a_phone_takes_what_phones_with_its_npu_generation_run() -> None:
    target = completed(Target(device="Xiaomi 13", tier="edge"), rows(NPU, NPU, CPU))
    assert (target.runtime, target.precision, target.compute_unit) == ("qnn_dlc", "int8", "npu")
    assert "target_runtime=qnn_dlc" in target.note


def test_a_raspberry_pi_is_not_given_a_phones_npu() -> None:
    target = completed(Target(device="raspberry_pi_5", tier="edge"), rows(NPU, NPU, CPU))
    assert (target.runtime, target.precision, target.compute_unit) == ("litert", "fp32", "cpu")


def test_a_device_that_can_have_nothing_of_the_history_is_asked_about() -> None:
    with pytest.raises(DataError, match=r"no configuration that raspberry_pi_5 could have .*target_runtime="):
        completed(Target(device="raspberry_pi_5", tier="edge"), rows(NPU))


def test_facts_that_the_user_gives_are_kept() -> None:
    target = completed(Target(device="Xiaomi 13", tier="edge", compute_unit="cpu"), rows(NPU, NPU, CPU))
    assert (target.runtime, target.compute_unit) == ("litert", "cpu")


def test_an_unknown_device_needs_a_tier_and_gets_near_names() -> None:
    with pytest.raises(DataError, match=r"Did you mean 'Samsung Galaxy S24'.*tier=gpu, cpu or edge"):
        completed(Target(device="Galaxy S24"), rows(NPU, CPU)[lambda t: t["device"] != "Galaxy S24"])


def test_an_unknown_device_of_a_tier_takes_the_commonest_there() -> None:
    target = completed(Target(device="board x", tier="edge"), rows(CPU, CPU, NPU, ("a100", "torch", "fp16", "gpu")))
    assert (target.runtime, target.precision) == ("litert", "fp32")


def test_a_device_with_benchmarks_is_left_as_it_is() -> None:
    target = Target(device="my_board")
    assert completed(target, rows(("my_board", "onnxruntime", "fp32", "cpu"))) is target


@pytest.mark.parametrize(
    ("target", "command"),
    [
        (
            Target(device="raspberry_pi_5", tier="edge", runtime="onnxruntime", precision="fp32", compute_unit="cpu"),
            "device=raspberry_pi_5",
        ),
        (
            Target(device="Xiaomi 13", tier="edge", runtime="litert", precision="fp32", compute_unit="cpu"),
            "device=phone",
        ),
    ],
)
def test_the_measuring_command_names_a_device_that_bench_has(target: Target, command: str) -> None:
    found = measuring_command(target, ["resnet18"])
    words = shlex.split(found.command)
    assert words[:2] == ["frm-mlflow", "bench"]
    assert {command, "models=[resnet18]", f"runtime={target.runtime}", "precision=fp32"} <= set(words)


@pytest.mark.parametrize(
    ("runtime", "precision", "unit"), [("qnn_dlc", "int8", "npu"), ("litert", "fp16", "cpu"), ("litert", "fp32", "npu")]
)
def test_no_command_is_printed_that_cannot_run(runtime: str, precision: str, unit: str) -> None:
    target = Target(device="Xiaomi 13", tier="edge", runtime=runtime, precision=precision, compute_unit=unit)
    found = measuring_command(target, ["resnet18"])
    assert not found.command
    assert "anchors={MODEL: MS}" in found.remark
