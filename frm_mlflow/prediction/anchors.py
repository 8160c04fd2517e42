"""Measurements on the target itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anchors:
    """Models measured on the target: their positions (K,) and the logarithms of the measured values (K,)."""

    positions: Integers
    log_values: Floats

    @classmethod
    def none(cls) -> Anchors:
        """Return no anchors."""
        return cls(positions=np.zeros(0, dtype=np.intp), log_values=np.zeros(0))

    @classmethod
    def of_row(cls, row: Floats, positions: Integers) -> Anchors:
        """Return the anchors among `positions` for which `row` (M,) has a value."""
        known = positions[np.isfinite(row[positions])]
        return cls(positions=known, log_values=row[known])

    def __len__(self) -> int:
        return len(self.positions)
