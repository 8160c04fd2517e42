"""`frm-mlflow bench` with a stand-in for an A100: rejected before any export, with the command that fixes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
A100 = {"FAKE_GPUS": "NVIDIA A100-SXM4-80GB|81920"}


def bench(*words: str, environment: dict[str, str], folder: Path) -> str:
    """Run the command, which must fail, and return what it prints."""
    done = subprocess.run(
        [FRM_MLFLOW, "bench", *words], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path(environment["XDG_CACHE_HOME"]).rglob("exported_model.json")), "nothing may be exported"
    assert not (folder / "mlflow.db").exists(), "nothing may be logged"
    return done.stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["device=a100"], ["no runtime runs on NVIDIA A100-SXM4-80GB", "onnxruntime: ", "torch: ", "make setup"]),
        (
            ["device=a100", "runtime=onnxruntime", "runtime.options.provider=cpu"],
            ["device=a100 is a GPU", "CPUExecutionProvider", "remove runtime.options.provider=cpu"],
        ),
        (
            ["device=cpu", "runtime=openvino", "device.unit=npu"],
            ["is an NPU", "openvino runs the model on a processor"],
        ),
        (["device=cpu", "runtime.options.provider=cuda"], ["without CUDAExecutionProvider"]),
        (["device=a100", "device.index=3"], ["it asks for GPU 3", "0 (NVIDIA A100-SXM4-80GB)"]),
    ],
)
def test_what_cannot_run_there_is_refused_before_any_export(words, parts, environment, tmp_path):
    printed = bench(*words, environment=environment | A100, folder=tmp_path)
    assert all(part in printed for part in parts), printed


def test_a_card_in_exclusive_mode_is_refused_before_any_export(environment, tmp_path):
    exclusive = environment | A100 | {"FAKE_COMPUTE_MODE": "3"}
    printed = bench("device=a100", "runtime=torch", environment=exclusive, folder=tmp_path)
    assert "EXCLUSIVE_PROCESS" in printed
    assert "nvidia-smi -i 0 -c DEFAULT" in printed


@pytest.mark.parametrize(
    ("fakes", "precision", "parts"),
    [
        (A100 | {"FAKE_USED_MIB": "81700"}, "fp32", ["GPU 0 'NVIDIA A100-SXM4-80GB' is full: 220 of 81920 MiB"]),
        (A100 | {"FAKE_COMPUTE_MODE": "3"}, "fp32", ["EXCLUSIVE_PROCESS", "nvidia-smi -i 0 -c DEFAULT"]),
        (A100 | {"FAKE_DRIVER": "550.54", "FAKE_CUDA": "12040"}, "fp32", ["driver 550.54 supports CUDA 12.4", "580"]),
        ({"FAKE_GPUS": "Tesla T4|15360", "FAKE_CAPABILITY": "7.5"}, "tf32", ["needs compute capability 8.0", "fp32"]),
    ],
    ids=["full", "exclusive", "old driver", "tf32 before Ampere"],
)
def test_a_card_that_cannot_work_is_named_with_the_remedy(fakes, precision, parts, ask):
    program = "import json, sys\n"
    program += "from frm_mlflow.worker.accelerator import cards\n"
    program += "from frm_mlflow.worker.cuda_setup import card_problem, driver_problem\n"
    program += "card, = cards().usable\n"
    program += "print(json.dumps(card_problem(card, sys.argv[1]) or driver_problem('torch', card)))"
    sentence = ask(program, precision, **fakes)
    assert all(part in sentence for part in parts), sentence


def test_an_environment_of_mlflow_is_told_to_run_make_setup(monkeypatch, tmp_path):
    from frm_mlflow.worker import cuda_setup

    monkeypatch.setattr(cuda_setup.sys, "prefix", str(tmp_path / "envs" / "mlflow-1"))
    monkeypatch.chdir(tmp_path)
    by_pip = cuda_setup.how_to_install("bench-gpu", instead_of="onnxruntime")
    assert by_pip == "run `pip uninstall --yes onnxruntime && pip install 'frm-mlflow[bench-gpu]'`"
    monkeypatch.chdir(Path(__file__).parents[2])  # where `mlflow run .` starts the command
    assert "run `make setup` in this checkout" in cuda_setup.how_to_install("bench-gpu", instead_of="onnxruntime")


def test_both_builds_of_onnx_runtime_are_named(monkeypatch):
    from frm_mlflow.worker import cuda_setup

    assert cuda_setup.both_wheels() == ""
    monkeypatch.setattr(cuda_setup.metadata, "version", lambda name: "1.31.1")
    assert "pip uninstall --yes onnxruntime onnxruntime-gpu" in cuda_setup.both_wheels()


def test_the_cuda_versions_of_the_wheels_must_agree(monkeypatch):
    from frm_mlflow.worker import cuda_setup

    versions = {"torch": "13.0", "onnxruntime": "12.8"}
    monkeypatch.setattr(cuda_setup, "wheel_cuda", versions.get)
    assert "torch was built with CUDA 13.0 and onnxruntime-gpu with CUDA 12.8" in cuda_setup.majors_problem()
    versions["onnxruntime"] = "13.2"
    assert cuda_setup.majors_problem() == ""
