"""Tests that need a real NVIDIA GPU: `make test-gpu`, under ten minutes. It changes no setting of the card.

On a machine without a usable GPU, these tests fail with the reason instead of being skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from frm_mlflow import devices, schema
from frm_mlflow.config import DeviceConfig, MeasureConfig, ModelConfig, RuntimeConfig
from frm_mlflow.devices import Device, Gpu, LocalHost
from frm_mlflow.export import ExportCache, export, precisions
from frm_mlflow.measure import benchmark
from frm_mlflow.measure.participant import Participant
from frm_mlflow.sweep.preflight import prove
from frm_mlflow.worker.cuda_setup import AMPERE
from frm_mlflow.zoo.catalogue import CATALOGUE, PAPER_MODELS

pytestmark = pytest.mark.gpu

RUNTIMES = ("torch", "torch_compile", "torch_export", "torchscript", "onnxruntime")
NETWORKS = ("resnet18", "mobilenet_v3_small")
PAIRS = [(runtime, precision) for runtime in RUNTIMES for precision in precisions(runtime, compute_unit="gpu")]
NEEDS_AMPERE = ("tf32", "bf16")
LONG_S = 300.0
BRIEF = MeasureConfig(warm_up_runs=3, warm_up_seconds=0.1, warm_up_max_seconds=30.0)


def auto(index: int = 0) -> Device:
    config = DeviceConfig("auto", None, "auto", index=index)
    return devices.resolve(config, hardware=devices.probe(), known=devices.known_devices())


@pytest.fixture(scope="module")
def card() -> Gpu:
    hardware = devices.probe()
    assert hardware.gpus, f"no GPU can be used: {hardware.describe()}"
    return hardware.gpus[0]


@pytest.fixture(scope="module")
def device(card: Gpu) -> Device:
    return auto()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ExportCache:
    return ExportCache(tmp_path_factory.mktemp("exports"))


def exported(name: str, runtime: str, precision: str, cache: ExportCache) -> Path:
    model = ModelConfig(name, source=CATALOGUE[name].source)
    return export(model, runtime=runtime, precision=precision, cache=cache, compute_unit="gpu")


@contextmanager
def loaded(
    exported_model: Path, device: Device, runtime: str, precision: str, **options: object
) -> Iterator[Participant]:
    """Load an exported model in a worker; `load` itself rejects another device, card or precision."""
    participant = Participant("model", exported_model, LONG_S, precision=precision)
    with closing(LocalHost().open_worker("the worker of a GPU test", threads=2)) as worker:
        participant.launch(worker)
        participant.load(device=device, runtime=RuntimeConfig(runtime, options=dict(options)), threads=2)
        yield participant


def skip_before_ampere(card: Gpu, precision: str) -> None:
    if precision in NEEDS_AMPERE and card.compute_capability is not None and card.compute_capability < AMPERE:
        pytest.skip(f"{card.name} has no {precision}")


def test_the_card_is_recognised_by_its_own_name(card: Gpu, device: Device):
    assert (device.kind, device.compute_unit) == ("cuda", "gpu")
    assert card.name in (device.chip, f"NVIDIA {device.chip}") or device.name != "cuda"
    assert device.selector


@pytest.mark.parametrize(("runtime", "precision"), PAIRS)
def test_preflight_proves_each_runtime_in_seconds(runtime: str, precision: str, card: Gpu, device: Device):
    skip_before_ampere(card, precision)
    placed = prove(LocalHost(), device, RuntimeConfig(runtime, threads=2), precision)
    assert (placed.unit, placed.precision) == ("gpu", precision)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("runtime", "precision"), PAIRS)
def test_outputs_memory_and_clocks_are_plausible(
    runtime: str, precision: str, network: str, card: Gpu, device: Device, cache: ExportCache
):
    skip_before_ampere(card, precision)
    with loaded(exported(network, runtime, precision, cache), device, runtime, precision) as model:
        assert model.placed is not None
        assert (model.placed.unit, model.placed.precision) == ("gpu", precision)
        model.verify()  # raises if the error exceeds the precision's tolerance
        model.warm_up(BRIEF)
        block = model.timed_block(runs=20, settle=5)
        model.read_memory()
    weights_mib = model.manifest.facts["weights_mib"]
    assert min(block["wall_ns"]) > 0
    if runtime != "onnxruntime":
        assert min(block["device_ns"]) > 0
    over_base_mib = model.now.memory["device_peak_mib"]
    assert 0.4 * weights_mib < over_base_mib < 40 * weights_mib + 512
    assert block["readings"], "no reading of the card during the block"
    assert all(isinstance(value, float) for reading in block["readings"] for value in reading.values())


def test_fp32_is_more_exact_than_tf32(card: Gpu, device: Device, cache: ExportCache):
    skip_before_ampere(card, "tf32")
    for runtime in ("torch", "onnxruntime"):
        errors = {}
        for precision in ("fp32", "tf32"):
            with loaded(exported("resnet18", runtime, precision, cache), device, runtime, precision) as model:
                errors[precision] = model.verify().max_rel_error
        assert errors["fp32"] < 1e-4, runtime
        assert errors["fp32"] < errors["tf32"], runtime


@pytest.mark.parametrize(
    ("runtime", "options"), [("onnxruntime", {"cuda_graph": True}), ("torch_compile", {"mode": "reduce-overhead"})]
)
def test_a_captured_graph_computes_new_inputs(
    runtime: str, options: dict, device: Device, cache: ExportCache, tmp_path: Path
):
    exported_model = exported("resnet18", runtime, "fp32", cache)
    with np.load(exported_model / "reference.npz") as reference:
        image = reference["input_0"]
    np.savez(tmp_path / "in.npz", input_0=np.stack([image, 0.5 * image]))
    answers = {}
    for name, chosen in (("plain", {}), ("graph", options)):
        with loaded(exported_model, device, runtime, "fp32", **chosen) as model:
            model.verify()
            model.warm_up(BRIEF)
            assert model.now.loaded["facts"]["cuda_graph"] == (name == "graph")
            paths = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / f"{name}.npz")}
            model.now.worker.request("predict", timeout_s=LONG_S, **paths)
        with np.load(tmp_path / f"{name}.npz") as content:
            answers[name] = content["output_0"]
    assert not np.allclose(answers["plain"][0], answers["plain"][1])
    np.testing.assert_allclose(answers["graph"], answers["plain"], rtol=1e-2, atol=1e-2)


def test_the_second_card_does_the_work_of_index_1(cache: ExportCache):
    gpus = devices.probe().gpus
    if len(gpus) < 2:
        pytest.skip("this machine has one card")
    second = auto(index=1)
    with loaded(exported("resnet18", "torch", "fp32", cache), second, "torch", "fp32") as model:
        model.verify()
        block = model.timed_block(runs=5, settle=1)
        uuid = model.now.loaded["card"]["uuid"]
    assert min(block["device_ns"]) > 0
    assert uuid
    assert gpus[1].uuid.lower().endswith(uuid)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_the_ratio_to_the_baseline_is_plausible(runtime: str, device: Device, cache: ExportCache):
    small, large = (exported(name, runtime, "fp32", cache) for name in ("resnet18", "resnet50"))
    config = MeasureConfig(runs=60, launches=3, max_seconds=20.0, energy_seconds=0.5, warm_up_seconds=0.3)
    measured = benchmark(
        exported_model=small,
        baseline=large,
        device=device,
        runtime=RuntimeConfig(runtime, threads=2),
        config=config,
        rng=np.random.default_rng(0),
        precision="fp32",
    )
    assert measured.placed is not None
    assert measured.placed.unit == "gpu"
    assert 0.1 < measured.metrics[schema.RATIO_LATENCY.key] < 0.95
    assert 0.1 < measured.metrics[schema.RATIO_MEMORY.key] < 1.0
    assert measured.memory_definition.endswith("_over_base")


def test_throttling_and_clocks_can_be_read(device: Device):
    readings = devices.conditions(device)
    assert {"gpu_sm_clock_mhz", "gpu_throttle_reasons", "gpu_temperature_c"} & set(readings), readings
    assert all(np.isfinite(value) for value in readings.values())


def test_a_sweep_of_the_paper_is_logged_under_the_cards_name(device: Device, tmp_path: Path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "FRM_MLFLOW_SPOOL": str(tmp_path / "spool")}
    words = ["device=auto", "models=[paper]", "measure=quick", "measure.energy_seconds=0", "tracking.experiment=gpu"]
    program = str(Path(sys.executable).parent / "frm-mlflow")
    done = subprocess.run([program, "bench", *words], env=environment, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-4000:]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("gpu")
    runs = client.search_runs([experiment.experiment_id], f"tags.`{schema.KIND.key}` = '{schema.KIND_BENCHMARK}'")
    assert {run.data.tags[schema.MODEL.key] for run in runs} >= set(PAPER_MODELS)
    for run in runs:
        tags = run.data.tags
        assert run.info.status == "FINISHED"
        assert (tags[schema.DEVICE.key], tags[schema.CHIP.key]) == (device.name, device.chip)
        assert (tags[schema.COMPUTE_UNIT.key], tags[schema.PRECISION.key]) == ("gpu", "fp32")
        assert run.data.metrics[schema.FRM.key] > 0
