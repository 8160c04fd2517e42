"""Measured accuracy, on a real dataset with a small network that is really trained."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from sklearn.model_selection import train_test_split
from torch import nn

from frm_mlflow import devices
from frm_mlflow.config import AccuracyConfig, DeviceConfig, ModelConfig, PrecisionConfig, RuntimeConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.export.pack import pack
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.measure.accuracy import image_shape, measure_accuracy, score
from frm_mlflow.measure.dataset import load
from frm_mlflow.sweep.compose import composed
from frm_mlflow.sweep.plan import plan_benchmarks
from frm_mlflow.sweep.run import Bench, measure
from frm_mlflow.worker.manifest import ExportedModel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
"""torch marks its tracing exporters as deprecated, but nothing else is as fast yet."""

SEED = 0
WEIGHTS_VARIABLE = "FRM_TEST_DIGITS_WEIGHTS"


def digits_network() -> nn.Module:
    """Return the trained network, like a user's factory."""
    network = untrained()
    network.load_state_dict(torch.load(os.environ[WEIGHTS_VARIABLE], weights_only=True))
    return network.eval()


def untrained() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )


@pytest.fixture(scope="module", autouse=True)
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Train the network on half of the 8 x 8 digits."""
    torch.manual_seed(SEED)
    images, labels = training_half()[0]
    network = untrained()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
        optimiser.step()
    path = tmp_path_factory.mktemp("weights") / "digits.pt"
    torch.save(network.state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WEIGHTS_VARIABLE, str(path))
        yield


def training_half() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.5, random_state=SEED)
    return (train_x, train_y), (test_x, test_y)


@pytest.fixture(scope="module")
def model() -> ModelConfig:
    target = f"{Path(__file__).stem}:digits_network"
    return ModelConfig(name="digits", source="target", target=target, input_shape=[1, 8, 8])


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, labels = training_half()[1]
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=labels)
    return path


@pytest.fixture
def device() -> devices.Device:
    config = DeviceConfig(name="cpu", tier="cpu", kind="cpu")
    return devices.resolve(config, hardware=devices.probe(), known=())


@pytest.mark.parametrize(("runtime", "precision", "batch"), [("onnxruntime", "fp32", 7), ("onnxruntime", "int8", 1)])
def test_accuracy_is_measured_on_the_timed_exported_model(
    runtime: str,
    precision: str,
    batch: int,
    model: ModelConfig,
    digits: Path,
    device: devices.Device,
    tmp_path: Path,
) -> None:
    exported_model = tmp_path
    pack(
        ExportRequest(model=model, runtime=runtime, precision=PrecisionConfig(precision), batch_size=batch),
        exported_model,
    )
    data = load(AccuracyConfig(mode="measured", data=str(digits), samples=400), shape=(1, 8, 8), n_classes=10)
    assert image_shape(ExportedModel.read(exported_model)) == (1, 8, 8)

    found = measure_accuracy(
        exported_model,
        data,
        host=devices.LocalHost(),
        device=device,
        runtime=RuntimeConfig(runtime, threads=1),
        timeout_s=120,
    )

    with torch.inference_mode():
        outputs = digits_network()(torch.from_numpy(data.images)).numpy()
    expected = 100 * accuracy_score(data.labels, outputs.argmax(axis=1))
    assert expected > 95
    assert found.n == 400
    assert found.top1.percent == pytest.approx(expected, abs=1e-9 if precision == "fp32" else 3)
    assert found.top1.low < found.top1.percent < found.top1.high


def test_score_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    outputs, labels = rng.normal(size=(500, 12)), rng.integers(12, size=500)

    found = score(outputs, labels)

    assert found.top1.percent == pytest.approx(100 * accuracy_score(labels, outputs.argmax(axis=1)))
    assert found.top5 is not None
    assert found.top5.percent == pytest.approx(100 * top_k_accuracy_score(labels, outputs, k=5))
    assert score(outputs[:, :4], labels % 4).top5 is None


def test_the_sample_is_drawn_by_its_seed_and_without_replacement(digits: Path) -> None:
    def drawn(seed: int) -> np.ndarray:
        config = AccuracyConfig(mode="measured", data=str(digits), samples=300, seed=seed)
        return load(config, shape=(1, 8, 8), n_classes=10).images

    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))
    everything = load(AccuracyConfig(mode="measured", data=str(digits)), shape=(1, 8, 8), n_classes=10)
    assert len(everything.labels) == len(load_digits().target) - len(training_half()[0][1])


def test_a_folder_and_a_hugging_face_dataset_give_equal_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, size=(6, 40, 50, 3), dtype=np.uint8), [0, 0, 1, 1, 2, 2]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "folder" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "folder" / str(label) / f"{index}.png")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [Image.fromarray(image) for image in images], "label": labels}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "hub"))
    np.savez(tmp_path / "raw.npz", images=images, labels=np.array(labels))

    loaded = [
        load(AccuracyConfig(mode="measured", data=str(tmp_path / name)), shape=(3, 32, 32), n_classes=3)
        for name in ("folder", "hub", "raw.npz")
    ]

    for other in loaded[1:]:
        np.testing.assert_array_equal(loaded[0].images, other.images)
        np.testing.assert_array_equal(loaded[0].labels, other.labels)
    assert loaded[0].images.shape == (6, 3, 32, 32)
    assert loaded[0].images.dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(3, int)}, "no array images"),
        ({"images": np.zeros((0, 1, 8, 8), np.float32), "labels": np.zeros(0, int)}, "no labelled image"),
        ({"images": np.zeros((3, 1, 8, 8), np.float32), "labels": np.array([0, 1, 10])}, "classes 0 to 9"),
        ({"images": np.zeros((3, 1, 8, 8), np.float32), "labels": np.zeros(2, int)}, "one class number an image"),
        ({"images": np.zeros((3, 1, 9, 9), np.float32), "labels": np.zeros(3, int)}, "normalised floats of shape"),
        ({"images": np.zeros((3, 8, 8), np.float32), "labels": np.zeros(3, float)}, "one class number an image"),
    ],
)
def test_images_that_do_not_fit_are_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    config = AccuracyConfig(mode="measured", data=str(tmp_path / "bad.npz"))
    with pytest.raises(ConfigError, match=message):
        load(config, shape=(1, 8, 8), n_classes=10)


class _TimedError(Exception):
    """Raised instead of timing."""


def test_images_are_refused_before_anything_is_timed(
    digits: Path, device: devices.Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(**_: object) -> None:
        raise _TimedError

    monkeypatch.setattr("frm_mlflow.sweep.run.benchmark", timed)
    np.savez(tmp_path / "bad.npz", images=np.zeros((3, 1, 8, 8), np.float32), labels=np.array([0, 1, 10]))
    bench = Bench.on(device, devices.LocalHost())
    words = ["model=target", "model.name=digits", f"model.target={Path(__file__).stem}:digits_network"]
    words += ["model.input_shape=[1,8,8]", "accuracy=measured"]

    for data, refusal in ((digits, _TimedError), (tmp_path / "bad.npz", ConfigError)):
        asked = [*words, f"accuracy.data={data}"]
        plan = plan_benchmarks(composed("bench", asked), asked, lambda w: composed("bench", w))[-1]
        with pytest.raises(refusal):
            measure(plan, bench, lambda _: None, with_baseline=False)


def test_class_folders_must_be_the_models_classes(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(ConfigError, match="1 class folders and the model has 10"):
        load(AccuracyConfig(mode="measured", data=str(tmp_path)), shape=(3, 8, 8), n_classes=10)
    with pytest.raises(ConfigError, match="does not exist"):
        load(AccuracyConfig(mode="measured", data=str(tmp_path / "no")), shape=(3, 8, 8), n_classes=10)
