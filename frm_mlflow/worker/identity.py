"""Checks whether an exported model computes the same as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

ROUNDING = 1e-6
"""Negligible absolute error: a few float32 steps at 1. Outputs within it agree whatever their cosine."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of the worst output with the reference; errors are NaN if a value is not finite.

    For integers, booleans and text the cosine is at least the share of equal values.
    """

    cosine: float
    max_abs_error: float
    max_rel_error: float
    """Largest absolute error divided by the largest absolute value of the reference."""
    finite: bool


def agreement(outputs: Sequence[Array], reference: Sequence[Array]) -> Agreement:
    """Compare outputs with the reference's outputs one by one, in order.

    Raises
    ------
    ValueError
        If their number or sizes differ, which means that it is a different function.
    """
    if len(outputs) != len(reference):
        raise ValueError(f"{len(outputs)} outputs, but the reference has {len(reference)}")
    pairs = [_one(np.asarray(o), np.asarray(r)) for o, r in zip(outputs, reference, strict=True)]
    # The cosine of an output within rounding must not be combined with the error of another output.
    decisive = [p for p in pairs if not p.max_abs_error < ROUNDING] or pairs
    return Agreement(
        cosine=float(min(p.cosine for p in decisive)),
        max_abs_error=float(max(p.max_abs_error for p in decisive)),
        max_rel_error=float(max(p.max_rel_error for p in decisive)),
        finite=all(p.finite for p in pairs),
    )


def _one(output: Array, reference: Array) -> Agreement:
    if output.size != reference.size:
        raise ValueError(f"an output has shape {output.shape}, but the reference's is {reference.shape}")
    if reference.dtype.kind in "US":
        equal = float(np.mean(output.astype(str).ravel() == reference.astype(str).ravel())) if reference.size else 1.0
        return Agreement(equal, float(equal < 1), 1 - equal, finite=True)
    got = output.astype(np.float64).ravel()
    want = reference.astype(np.float64).ravel()
    if not (np.isfinite(got).all() and np.isfinite(want).all()):
        return Agreement(float("nan"), float("nan"), float("nan"), finite=False)
    error = float(np.max(np.abs(got - want), initial=0.0))
    scale = float(np.max(np.abs(want), initial=0.0))
    similarity = Agreement(_cosine(got, want), error, error / scale if scale else float(error > 0), finite=True)
    if reference.dtype.kind not in "iub" or not want.size:
        return similarity
    equal = float(np.mean(got == want))
    return replace(
        similarity,
        cosine=max(similarity.cosine, equal),
        max_rel_error=min(similarity.max_rel_error, 1 - equal),
    )


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return 1.0 if np.array_equal(a, b) else 0.0
    return float(np.clip(a @ b / norms, -1.0, 1.0))


def numbered_arrays(path: Path, prefix: str) -> list[Any]:
    """Read `prefix0`, `prefix1`, ... from an `.npz`; numpy rejects object arrays (pickles)."""
    with np.load(path, allow_pickle=False) as archive:
        count = sum(name.startswith(prefix) for name in archive.files)
        return [archive[f"{prefix}{k}"] for k in range(count)]
