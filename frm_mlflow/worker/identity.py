"""Whether an artefact computes what the reference computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Agreement:
    """The worst output's agreement with the reference; errors are NaN where a value is not finite."""

    cosine: float
    max_abs_error: float
    max_rel_error: float
    """The largest absolute error over the largest absolute value of the reference."""
    finite: bool


def agreement(outputs: Sequence[Array], reference: Sequence[Array]) -> Agreement:
    """Compare outputs with the reference's, one by one in order.

    Raises
    ------
    ValueError
        Where their number or sizes differ: then it is another function altogether.
    """
    if len(outputs) != len(reference):
        raise ValueError(f"{len(outputs)} outputs, but the reference has {len(reference)}")
    pairs = [_one(np.asarray(o), np.asarray(r)) for o, r in zip(outputs, reference, strict=True)]
    return Agreement(
        cosine=float(min(p.cosine for p in pairs)),
        max_abs_error=float(max(p.max_abs_error for p in pairs)),
        max_rel_error=float(max(p.max_rel_error for p in pairs)),
        finite=all(p.finite for p in pairs),
    )


def _one(output: Array, reference: Array) -> Agreement:
    if output.size != reference.size:
        raise ValueError(f"an output has shape {output.shape}, but the reference's is {reference.shape}")
    got = output.astype(np.float64).ravel()
    want = reference.astype(np.float64).ravel()
    if not (np.isfinite(got).all() and np.isfinite(want).all()):
        return Agreement(float("nan"), float("nan"), float("nan"), finite=False)
    error = float(np.max(np.abs(got - want), initial=0.0))
    scale = float(np.max(np.abs(want), initial=0.0))
    return Agreement(_cosine(got, want), error, error / scale if scale else float(error > 0), finite=True)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return 1.0 if np.array_equal(a, b) else 0.0
    return float(np.clip(a @ b / norms, -1.0, 1.0))


def numbered_arrays(path: Path, prefix: str) -> list[Any]:
    """Read `prefix0`, `prefix1`, ... of an `.npz`; object arrays (pickles) are refused by numpy."""
    with np.load(path, allow_pickle=False) as archive:
        count = sum(name.startswith(prefix) for name in archive.files)
        return [archive[f"{prefix}{k}"] for k in range(count)]
