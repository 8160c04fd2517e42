"""The arrays against which a worker verifies what it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frm_mlflow.worker.manifest import REFERENCE_NAME
from frm_mlflow.worker.sessions.base import as_float32


def write_reference(directory: Path, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> None:
    """Write one input batch and the reference's outputs for it, floats as float32."""
    arrays: dict[str, Any] = {f"input_{i}": array for i, array in enumerate(inputs)}
    arrays |= {f"output_{i}": as_float32(array) for i, array in enumerate(outputs)}
    np.savez(directory / REFERENCE_NAME, **arrays)
