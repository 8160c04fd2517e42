from __future__ import annotations

import pytest

from frm_mlflow.errors import IdentityError
from frm_mlflow.measure.result import Identity
from frm_mlflow.measure.tolerance import TOLERANCES, check_identity


def test_outputs_within_the_tolerance_pass_and_others_do_not():
    for precision, allowed in TOLERANCES.items():
        at_limit = Identity(allowed.cosine, 0.1, allowed.max_rel_error)
        check_identity(at_limit, finite=True, model="m", precision=precision)
        with pytest.raises(IdentityError, match=f"'m' in {precision} computes something else"):
            check_identity(Identity(allowed.cosine - 0.01, 0.1, 0.0), finite=True, model="m", precision=precision)
        with pytest.raises(IdentityError):
            check_identity(Identity(1.0, 0.1, allowed.max_rel_error * 1.1), finite=True, model="m", precision=precision)


def test_fewer_bits_are_allowed_more():
    order = [TOLERANCES[p] for p in ("fp32", "fp16", "bf16", "int8")]
    assert [t.cosine for t in order] == sorted((t.cosine for t in order), reverse=True)
    assert [t.max_rel_error for t in order] == sorted(t.max_rel_error for t in order)


def test_outputs_that_are_not_finite_are_refused():
    with pytest.raises(IdentityError, match="not finite"):
        check_identity(Identity(float("nan"), 0.0, 0.0), finite=False, model="m", precision="fp32")


def test_an_unknown_precision_is_held_to_the_strictest():
    with pytest.raises(IdentityError):
        check_identity(Identity(0.995, 0.0, 0.0), finite=True, model="m", precision="fp8")


def test_an_error_of_one_float32_step_passes_whatever_its_cosine():
    check_identity(Identity(0.967, 1.2e-7, 0.04), finite=True, model="m", precision="fp32")
    with pytest.raises(IdentityError):
        check_identity(Identity(0.967, 1.2e-5, 0.04), finite=True, model="m", precision="fp32")
