"""How far an artefact may be from the reference before it is another function."""

from __future__ import annotations

from dataclasses import dataclass

from frm_mlflow.errors import IdentityError
from frm_mlflow.measure.result import Identity


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The least cosine similarity and the largest error over the reference's largest value."""

    cosine: float
    max_rel_error: float


TOLERANCES = {
    "fp32": Tolerance(0.9999, 0.01),
    "tf32": Tolerance(0.999, 0.05),
    "fp16": Tolerance(0.999, 0.05),
    "bf16": Tolerance(0.99, 0.2),
    "int8": Tolerance(0.85, 1.0),
}
"""By the precision that ran; an unknown one is held to fp32's."""


def check_identity(identity: Identity, *, finite: bool, model: str, precision: str) -> None:
    """Raise `IdentityError` where the outputs are past the precision's tolerance."""
    allowed = TOLERANCES.get(precision, TOLERANCES["fp32"])
    if not finite:
        raise IdentityError(f"'{model}' in {precision} gives outputs that are not finite: it cannot be benchmarked.")
    if identity.cosine < allowed.cosine or identity.max_rel_error > allowed.max_rel_error:
        raise IdentityError(
            f"'{model}' in {precision} computes something else than the torch reference: cosine "
            f"{identity.cosine:.5f} (at least {allowed.cosine}), largest error {identity.max_rel_error:.2%} of the "
            f"largest output (at most {allowed.max_rel_error:.0%})."
        )
