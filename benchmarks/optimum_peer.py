"""Run optimum-benchmark 0.6.0 in a separate environment, for comparison.

Its ONNX Runtime backend can be imported only with optimum 1.27.0 and torch 2.8.0, so this module creates a
virtual environment for it (about 7 GB, once, in `FRM_PEER_DIR`) and runs itself there.
The peer gets our ONNX files, with inputs and outputs named as it expects, so both tools time the
same network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

PINNED = ("optimum-benchmark==0.6.0", "optimum==1.27.0", "torch==2.8.0", "transformers==4.53.3", "datasets==4.0.0")
"""The newest set that can be imported; later transformers and datasets need a different huggingface-hub."""
INPUT, OUTPUT = "pixel_values", "logits"


@dataclass(frozen=True)
class PeerLatency:
    """What the peer reports for one model."""

    median_s: float
    timed_s: float
    """All of its timed calls together."""
    total_s: float
    """Time from launch to report, including the peer's process start and loading."""


def latency(onnx_file: Path, *, runs: int, threads: int) -> PeerLatency:
    """Time the network in an ONNX file with the peer and its process launcher."""
    python = environment()
    folder = _as_transformers_model(onnx_file)
    command = [str(python), str(Path(__file__).resolve()), str(folder), str(runs), str(threads)]
    variables = dict(os.environ) | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "LOG_LEVEL": "ERROR"}
    done = subprocess.run(  # it writes a log to its working directory
        command, env=variables, cwd=_home(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"optimum-benchmark failed:\n{done.stderr[-3000:]}")
    return PeerLatency(**json.loads(done.stdout.splitlines()[-1]))


def environment() -> Path:
    """Return the interpreter of the peer's environment, which the first call creates."""
    import onnxruntime

    folder = _home() / "env"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        wanted = [*PINNED, f"onnxruntime=={onnxruntime.__version__}", "onnx"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
        (folder / "ready").touch()
    return python


def _home() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "frm-mlflow" / "optimum-peer"
    return Path(os.environ.get("FRM_PEER_DIR", default))


def _as_transformers_model(onnx_file: Path) -> Path:
    """Copy an ONNX classifier into a folder that the peer accepts as a local Transformers model."""
    import onnx

    folder = _home() / "models" / onnx_file.parent.name
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(onnx_file)
    names = {model.graph.input[0].name: INPUT, model.graph.output[0].name: OUTPUT}
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    onnx.save(model, folder / "model.onnx")
    config = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"], "num_labels": 1000}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _measure(folder: str, runs: int, threads: int) -> PeerLatency:
    """Measure inside the peer's environment."""
    from optimum_benchmark import Benchmark, BenchmarkConfig, InferenceConfig, ORTConfig, ProcessConfig

    config = BenchmarkConfig(
        name="peer",
        launcher=ProcessConfig(),
        scenario=InferenceConfig(
            iterations=runs,
            duration=0,
            warmup_runs=10,
            memory=True,
            input_shapes={"batch_size": 1, "num_channels": 3, "height": 224, "width": 224},
        ),
        backend=ORTConfig(
            model=folder,
            task="image-classification",
            library="transformers",
            device="cpu",
            export=False,
            provider="CPUExecutionProvider",
            session_options={"intra_op_num_threads": threads, "inter_op_num_threads": 1},
        ),
    )
    started = time.perf_counter()
    report = Benchmark.launch(config)
    total = time.perf_counter() - started
    found = report.forward.latency
    return PeerLatency(median_s=float(found.p50), timed_s=float(sum(found.values)), total_s=total)


if __name__ == "__main__":
    result = _measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(vars(result)))
