"""How far an exported model's outputs may deviate from the reference."""

from __future__ import annotations

from dataclasses import dataclass

from frm_mlflow.errors import IdentityError
from frm_mlflow.measure.result import Identity
from frm_mlflow.worker.identity import ROUNDING


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Minimum cosine similarity and maximum error relative to the reference's largest value.

    An absolute error smaller than `rounding` always passes: outputs near 1e-6 have no more digits than that.
    """

    cosine: float
    max_rel_error: float
    rounding: float = 0.0


TOLERANCES = {
    "fp64": Tolerance(0.9999, 0.01, ROUNDING),
    "fp32": Tolerance(0.9999, 0.01, ROUNDING),
    "tf32": Tolerance(0.995, 0.12, 10 * ROUNDING),
    "fp16": Tolerance(0.995, 0.12, 10 * ROUNDING),
    "bf16": Tolerance(0.96, 0.35, 100 * ROUNDING),
    "mixed": Tolerance(0.99, 0.2, ROUNDING),
    "int8": Tolerance(0.85, 1.0, ROUNDING),
}
"""Tolerances by the precision that was used; an unknown one gets that of fp32, without an absolute error.

tf32 and fp16 have 10 bits of mantissa, bf16 has 7. The values are twice what the catalogue's most sensitive network,
inception_v3, deviates when its arithmetic is emulated in that precision
(`tests/models/test_precision_tolerances.py`, ADR 0012).
"""
UNKNOWN = Tolerance(0.9999, 0.01)


def check_identity(identity: Identity, *, finite: bool, model: str, precision: str) -> None:
    """Raise `IdentityError` if the outputs exceed the precision's tolerance."""
    allowed = TOLERANCES.get(precision, UNKNOWN)
    if not finite:
        raise IdentityError(f"'{model}' in {precision} gives outputs that are not finite: it cannot be benchmarked.")
    if identity.max_abs_error < allowed.rounding:
        return
    if identity.cosine < allowed.cosine or identity.max_rel_error > allowed.max_rel_error:
        raise IdentityError(
            f"'{model}' in {precision} computes something else than its reference: cosine "
            f"{identity.cosine:.5f} (at least {allowed.cosine}), largest error {identity.max_rel_error:.2%} of the "
            f"largest output (at most {allowed.max_rel_error:.0%}). Choose another precision or runtime, or report the "
            "network to the runtime's converter."
        )
