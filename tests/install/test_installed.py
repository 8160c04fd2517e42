"""The built wheel in clean environments outside the checkout, on the oldest and the newest Python."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from tests.wheel import CHECKOUT, built

OLDEST, NEWEST = "3.10", "3.13"
UV = Path(sys.executable).with_name("uv")
ALL_EXTRAS = metadata.metadata("frm-mlflow").get_all("Provides-Extra") or []
FURTHER_EXTRAS = sorted(
    extra for extra in ALL_EXTRAS if extra not in ("bench", "dev", "docs") and not extra.endswith("-gpu")
)
"""User extras other than `bench`; those for GPUs need separate pins."""
GMACS = {
    "resnet50": 4.1,
    "resnet18": 1.8,
    "mobilenet_v2": 0.3,
    "squeezenet1_1": 0.35,
    "densenet121": 2.9,
    "levit_128s": 0.3,
}
MS_PER_GMAC = {"Google Pixel 7": 4.0, "Samsung Galaxy S23": 2.0, "Samsung Galaxy S24": 1.5}
INSTALL_S, COMMAND_S = 1800, 1800


@dataclass(frozen=True)
class Installed:
    """A clean environment with the wheel, and a folder to work in."""

    python: Path
    folder: Path

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the folder, without the checkout on its path."""
        private = {"XDG_DATA_HOME": f"{self.folder}/data", "XDG_CACHE_HOME": f"{self.folder}/cache"}
        private["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.folder}/mlflow.db"
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
        environment = {key: value for key, value in os.environ.items() if key not in hidden} | private
        command = [self.python.with_name(str(words[0])), *words[1:]]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=COMMAND_S
        )

    def frm_mlflow(self, *words: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        done = self.run("frm-mlflow", *words)
        assert done.returncode == 0, f"{words}: {done.stdout[-1500:]}{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("dist"))


def interpreter(version: str) -> str:
    """Return a Python of this version; skip the test if this machine has none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in sorted(pyenv.glob(f"{version}.*/bin/python")):
        return str(path)
    found = subprocess.run([UV, "python", "find", "--no-python-downloads", version], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no Python {version} on this machine: {found.stderr.strip().splitlines()[-1]}")
    return found.stdout.strip()


def installed(wheel: Path, version: str, extras: str, folder: Path) -> Installed:
    """Install the wheel with `extras` (`[bench]`) under the pinned versions."""
    environment, work = folder / "venv", folder / "work"
    work.mkdir()
    subprocess.run([UV, "venv", "--quiet", "--python", interpreter(version), environment], check=True)
    python = environment / "bin" / "python"
    pins = ["-c", CHECKOUT / "constraints.txt"]
    install = [UV, "pip", "install", "--quiet", "--python", python, *pins, f"frm-mlflow{extras} @ {wheel.as_uri()}"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_S)
    assert done.returncode == 0, done.stderr[-3000:]
    return Installed(python, work)


@pytest.fixture(params=[OLDEST, NEWEST])
def core(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Installed:
    return installed(wheel, request.param, "", tmp_path)


def write_table(path: Path) -> None:
    """Write latencies of six networks on three phones, like results of another tool."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["model", "device", "runtime", "precision", "latency_ms", "peak_memory_mib"])
        for device, factor in MS_PER_GMAC.items():
            for place, (model, gmacs) in enumerate(GMACS.items()):
                latency_ms = round(factor * (1 + gmacs + 0.1 * place), 3)
                table.writerow([model, device, "onnxruntime", "fp32", latency_ms, round(20 + 10 * gmacs + place, 1)])


@pytest.mark.timeout(7200)
def test_core_reads_analyses_and_predicts_without_extras(core: Installed) -> None:
    assert "install 'frm-mlflow[bench]'" in core.frm_mlflow("doctor").replace("\n", " ").replace("  ", " ")

    write_table(core.folder / "table.csv")
    core.frm_mlflow("ingest", "source=csv", "path=table.csv")
    assert "cost" in core.frm_mlflow("analyze", "analysis=[frm,cost]", "json=true")
    answer = core.frm_mlflow("recommend", "target=Samsung Galaxy S24", "max_latency_ms=100", "json=true")
    assert any(f'"{model}"' in answer for model in GMACS)
    core.frm_mlflow("report", "output=page.html", "log=false")
    assert "</html>" in (core.folder / "page.html").read_text(encoding="utf-8")

    refused = core.run("frm-mlflow", "bench", "model=squeezenet1_1", "device=cpu", "measure=quick")
    assert refused.returncode == 2, refused.stderr[-2000:]
    assert "install 'frm-mlflow[bench]'" in refused.stderr
    assert "Traceback" not in refused.stderr


MODEL = """
import mlflow, torch
with mlflow.start_run() as run:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(4))
    example = torch.rand(1, 3, 32, 32)
    network(example)
    mlflow.pytorch.log_model(network.eval(), name="model", input_example=example.numpy())
print(run.info.run_id)
"""


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("version", [NEWEST, pytest.param(OLDEST, marks=pytest.mark.slow)])
def test_bench_extra_measures_and_attaches(version: str, wheel: Path, tmp_path: Path) -> None:
    here = installed(wheel, version, "[bench]", tmp_path)
    here.frm_mlflow("doctor")
    quick = ("device=cpu", "baseline=mobilenet_v3_small", "measure=quick", "json=true")
    assert "squeezenet1_1" in here.frm_mlflow("bench", "model=squeezenet1_1", *quick)

    logged = here.run("python", "-c", MODEL)
    assert logged.returncode == 0, logged.stderr[-3000:]
    here.frm_mlflow("attach", f"run_id={logged.stdout.split()[-1]}", *quick)
    here.frm_mlflow("analyze", "analysis=[frm]", "baseline=mobilenet_v3_small")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("extra", FURTHER_EXTRAS)
def test_each_further_extra_installs_and_the_commands_start(
    extra: str, version: str, wheel: Path, tmp_path: Path
) -> None:
    here = installed(wheel, version, f"[{extra}]", tmp_path)
    try:
        here.frm_mlflow("doctor")
        write_table(here.folder / "table.csv")
        here.frm_mlflow("ingest", "source=csv", "path=table.csv")
        here.frm_mlflow("analyze", "analysis=[frm]")
        here.frm_mlflow("recommend", "target=Samsung Galaxy S24", "max_latency_ms=100")
    finally:
        shutil.rmtree(here.python.parents[1])


@pytest.mark.parametrize("program", ["uv", "pip"])
def test_command_in_the_message_adds_the_extra(program: str, wheel: Path, tmp_path: Path) -> None:
    """The project is not on any index: both programs must accept the installed frm-mlflow."""
    here = installed(wheel, NEWEST, "", tmp_path)
    add = ["install", "--dry-run", "frm-mlflow[figures]"]
    if program == "pip":
        subprocess.run([here.python, "-m", "ensurepip"], check=True, capture_output=True)
        done = here.run("python", "-m", "pip", *add)
    else:
        done = subprocess.run(
            [UV, "pip", *add, "--python", here.python], cwd=here.folder, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert "kaleido" in done.stdout + done.stderr
