"""One fault of each kind that takes only seconds; `python -m tests.faults.campaign` injects hundreds."""

from __future__ import annotations

import pytest

from tests.faults.campaign import inject
from tests.faults.cases import FAULTS
from tests.faults.fault import Fault
from tests.faults.table import is_good, line
from tests.faults.world import World

IN_CI = {"worker-killed", "launcher-killed", "server-errors", "answers-lost"}
"""The others take longer, or need a machine with permission to mount: `make test-all`."""
SEED = 1


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, id=f.name, marks=[] if f.name in IN_CI else [pytest.mark.slow]) for f in FAULTS],
)
def test_after_a_fault_every_result_is_there_once_and_nothing_is_left(fault: Fault, world: World) -> None:
    if missing := fault.missing(world):
        pytest.skip(missing)
    result = inject(world, fault, 0, seed=SEED)
    assert result is not None, "every sweep was over before the fault could hit"
    assert is_good(result), line(result)
