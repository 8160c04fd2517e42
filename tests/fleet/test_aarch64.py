"""A real second architecture: an aarch64 worker over ssh, translated by qemu's user mode.

It needs qemu-user-static, apt and a package index; only its outputs are meaningful, not its times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from frm_mlflow import devices, schema
from frm_mlflow.config import DeviceConfig
from frm_mlflow.devices import Host, LocalHost
from frm_mlflow.errors import DeviceMismatchError
from frm_mlflow.worker.manifest import REFERENCE_NAME
from tests.fleet.sshd import Sshd, overrides
from tests.measure.small_networks import small_network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
LONG_S = 600.0
NETWORK = ("model=target", "model.target=tests.models.user_networks:residual", "model.name=residual")
TINY = ("model.input_size=32", "baseline=squeezenet1_1", "runtime.threads=1", "measure=quick")
FEW = ("measure.runs=10", "measure.max_runs=10", "measure.warm_up_runs=2")


@pytest.fixture(scope="module")
def arm64_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python 3.11 for aarch64 with numpy and ONNX Runtime."""
    for program in ("qemu-aarch64-static", "apt-get", "dpkg"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install qemu-user-static, on Debian")
    root = tmp_path_factory.mktemp("arm64") / "root"
    script = Path(__file__).with_name("arm64_root.sh")
    done = subprocess.run(
        ["bash", str(script), str(root)],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the arm64 packages cannot be had here: {done.stderr.strip()[-300:]}")
    return root / "python"


@pytest.fixture
def emulated(sshd: Sshd, arm64_python: Path, tmp_path: Path) -> dict[str, object]:
    """The `device.*` settings that reach the emulated machine."""
    return sshd.device(python=arm64_python, folder=tmp_path / "device")


def outputs(host: Host, exported_model: Path, scratch: Path) -> np.ndarray:
    with np.load(exported_model / REFERENCE_NAME) as reference:
        np.savez(scratch / "inputs.npz", input_0=np.stack([reference["input_0"], -reference["input_0"]]))
    files = {"inputs": str(scratch / "inputs.npz"), "outputs": str(scratch / "outputs.npz")}
    worker = host.open_worker("tester", threads=1)
    worker.request("load", timeout_s=LONG_S, exported_model=str(exported_model), runtime="onnxruntime")
    worker.request("predict", timeout_s=LONG_S, **files)
    worker.close()
    with np.load(scratch / "outputs.npz") as answer:
        return answer["output_0"]


def test_it_computes_what_this_machine_computes(emulated: dict[str, object], tmp_path: Path):
    exported_model = small_network("onnxruntime", tmp_path / "network", width=16, depth=3)
    config = DeviceConfig("auto", None, "auto", **{key: _plain(value) for key, value in emulated.items()})  # type: ignore[arg-type]
    with devices.opened(config) as host:
        found = devices.resolve(config, hardware=host.hardware, known=devices.known_devices())
        assert (found.name, host.hardware.arch, host.hardware.emulator) == ("emulated_aarch64", "aarch64", "qemu-user")
        pi = next(known for known in devices.known_devices() if known.name == "raspberry_pi_5")
        with pytest.raises(DeviceMismatchError, match="emulated by qemu-user"):
            devices.resolve(pi, hardware=host.hardware, known=())
        there = outputs(host, exported_model, tmp_path)
    np.testing.assert_allclose(there, outputs(LocalHost(), exported_model, tmp_path), rtol=1e-4, atol=1e-6)


def test_its_run_carries_its_own_name_and_architecture(emulated: dict[str, object], mlflow_server: str, tmp_path: Path):
    command = [FRM_MLFLOW, "bench", "device=auto", *overrides(emulated), *NETWORK, *TINY, *FEW]
    environment = os.environ | {"MLFLOW_TRACKING_URI": mlflow_server, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, "tracking.experiment=aarch64"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    client = MlflowClient(mlflow_server)
    [experiment] = client.search_experiments(filter_string="name = 'aarch64'")
    runs = [run for run in client.search_runs([experiment.experiment_id]) if schema.MODEL.key in run.data.tags]
    assert {run.data.tags[schema.MODEL.key] for run in runs} == {"residual", "squeezenet1_1"}
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags[schema.DEVICE.key] == "emulated_aarch64"
        assert run.data.tags[schema.CHIP.key].startswith("aarch64 by qemu-user on ")
        assert run.data.tags[schema.RUNTIME_VERSION.key] == "1.23.2"


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
