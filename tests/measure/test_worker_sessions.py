"""Every runtime's session in a real worker: the same protocol, the right outputs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import FAST, WRITERS, small_network

from frm_mlflow.devices.local import open_local
from frm_mlflow.errors import WorkerError
from frm_mlflow.worker.manifest import ExportedModel

RUNTIMES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in WRITERS]
LONG_S = 300.0


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_computes_the_reference_and_is_timed(runtime: str, tmp_path: Path):
    path = small_network(runtime, tmp_path / "exported_model", width=64, depth=2)
    with open_local(name=runtime, threads=1) as worker:
        loaded = worker.request("load", timeout_s=LONG_S, exported_model=str(path), runtime=runtime, threads=1)
        assert loaded["facts"]["threads"] == 1
        assert next(iter(loaded["versions"].values()))
        agreement = worker.request("verify", timeout_s=LONG_S)
        assert agreement["cosine"] > 0.99999
        assert agreement["max_rel_error"] < 1e-3
        warm = {"runs": 3, "seconds": 0.01, "agreement": 0.5, "max_seconds": 5.0}
        assert worker.request("warm_up", timeout_s=LONG_S, **warm)["runs"] >= 3
        block = worker.request("run_block", timeout_s=LONG_S, runs=5, settle=1)
        assert len(block["wall_ns"]) == 5
        assert min(block["wall_ns"]) > 0
        assert block["device_ns"] is None
        memory = worker.request("memory", timeout_s=LONG_S)
        assert memory["base_mib"] > 1
        assert memory["peak_mib"] >= 0
        assert memory["device_mib"] is None
        assert predicted_matches(worker, path, tmp_path)


def predicted_matches(worker, path: Path, folder: Path) -> bool:
    """Whether `predict` on the reference's input returns the reference's output, for each of two batches."""
    reference = np.load(path / "reference.npz")
    np.savez(folder / "in.npz", input_0=np.stack([reference["input_0"], -reference["input_0"]]))
    reply = worker.request("predict", timeout_s=LONG_S, inputs=str(folder / "in.npz"), outputs=str(folder / "out.npz"))
    got = np.load(folder / "out.npz")["output_0"]
    np.testing.assert_allclose(got[0], reference["output_0"], rtol=1e-3, atol=1e-4)
    return reply["calls"] == 2 and not np.allclose(got[1], got[0])


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_a_missing_device_is_an_error_and_never_a_fallback(runtime: str, tmp_path: Path):
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    path = small_network(runtime, tmp_path / "exported_model")
    with open_local(name=runtime, threads=1) as worker, pytest.raises(WorkerError, match=r"(?i)cuda"):
        worker.request("load", timeout_s=LONG_S, exported_model=str(path), runtime=runtime, device="cuda")


def test_an_execution_provider_that_was_not_built_in_is_an_error(tmp_path: Path):
    path = small_network("onnxruntime", tmp_path / "exported_model")
    options = {"provider": "qnn"}
    with open_local(name="ort", threads=1) as worker, pytest.raises(WorkerError, match="without QNNExecutionProvider"):
        worker.request("load", timeout_s=LONG_S, exported_model=str(path), runtime="onnxruntime", options=options)


def test_what_a_users_module_prints_does_not_reach_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "chatty.py").write_text(
        "import os, torch\n"
        "print('hello from python')\n"
        "os.write(1, b'hello from below python\\n')\n"
        "def factory():\n"
        "    print('building')\n"
        "    return torch.nn.Identity()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = small_network("torch", tmp_path / "exported_model")
    torch.save({}, path / "weights.pt")
    chatty = replace(ExportedModel.read(path), loader={"target": "chatty:factory"})
    chatty.write(path)
    with open_local(name="chatty", threads=1) as worker:
        assert worker.request("load", timeout_s=LONG_S, exported_model=str(path), runtime="torch")["ok"]
        assert worker.request("run_block", timeout_s=LONG_S, runs=2)["ok"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's high-water mark")
@pytest.mark.parametrize("runtime", ["onnxruntime", pytest.param("torch", marks=pytest.mark.slow)])
def test_peak_memory_orders_networks_by_their_activations(runtime: str, tmp_path: Path):
    """One float for 256 x 256 positions is 0.25 MiB per channel: 8, 16 and 32 MiB in the wide layer."""
    peaks = []
    for width in (32, 64, 128):
        path = small_network(runtime, tmp_path / str(width), side=256, width=width)
        with open_local(name=runtime, threads=1) as worker:
            worker.request("load", timeout_s=LONG_S, exported_model=str(path), runtime=runtime)
            worker.request("run_block", timeout_s=LONG_S, runs=3)
            peaks.append(worker.request("memory", timeout_s=LONG_S)["peak_mib"])
    assert peaks == sorted(peaks)
    assert peaks[1] - peaks[0] > 6
    assert peaks[2] - peaks[1] > 12


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's high-water mark")
@pytest.mark.parametrize("runtime", list(WRITERS))
def test_peak_memory_comes_back_the_same(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))  # an empty cache: nothing is compiled yet
    path = small_network(runtime, tmp_path / "exported_model", side=256, width=128)
    peaks = []
    for _ in range(5):
        with open_local(name=runtime, threads=1) as worker:
            worker.request("load", timeout_s=LONG_S, exported_model=str(path), runtime=runtime)
            worker.request("run_block", timeout_s=LONG_S, runs=5)
            peaks.append(worker.request("memory", timeout_s=LONG_S)["peak_mib"])
    assert np.std(peaks, ddof=1) / np.mean(peaks) <= 0.03, peaks
