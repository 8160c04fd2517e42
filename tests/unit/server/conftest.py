from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.frame import tidy

NASTY = (
    "<img src=x onerror=alert(1)>",
    "quote \" and apostrophe ' and, comma",
    "مرحبا بالعالم",
    "network 🦊 v2",
    "</script><script>alert(2)</script>",
)


def benchmarks(models: dict[str, tuple[float, float, float, float]], **configuration: str) -> pd.DataFrame:
    """A tidy frame of one configuration: model -> latency, memory, GMACs, top-1."""
    words = {"device": "Phone", "tier": "edge", "runtime": "litert", "precision": "fp32", "batch_size": "1"}
    words |= {"compute_unit": "cpu", "resolution": "native", "kind": "benchmark", "status": "FINISHED"}
    rows = [
        words
        | configuration
        | dict(zip(("latency_ms", "memory_mib", "gmacs", "top1"), numbers, strict=True))
        | {"model": name, "family": "cnn", "run_id": f"{configuration.get('device', 'Phone')}-{name}"}
        | {"experiment_id": "7", "end_time": pd.Timestamp("2026-01-01", tz="UTC")}
        for name, numbers in models.items()
    ]
    return tidy(pd.DataFrame(rows))


PHONE = {
    "resnet50": (40.0, 100.0, 4.0, 76.0),
    "tiny": (5.0, 12.5, 0.5, 68.0),
    "poor": (40.0, 100.0, 4.0, 60.0),
    "large": (160.0, 400.0, 16.0, 82.0),
}


@pytest.fixture
def two_devices() -> pd.DataFrame:
    """A phone, and a server on which the first and the last model swap places."""
    server = PHONE | {"tiny": (50.0, 12.5, 0.5, 68.0), "large": (1.0, 400.0, 16.0, 82.0)}
    return pd.concat([benchmarks(PHONE), benchmarks(server, device="Server", tier="cpu", runtime="onnxruntime")])


@pytest.fixture
def many_models() -> pd.DataFrame:
    """3,000 models on one device."""
    rng = np.random.default_rng(0)
    numbers = np.exp(rng.normal(size=(3000, 4)))
    return benchmarks({"resnet50" if i == 0 else f"net {i}": tuple(row) for i, row in enumerate(numbers.tolist())})
