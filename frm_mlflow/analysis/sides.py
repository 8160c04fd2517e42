"""What stands in for tiers and chips where all benchmarks are of one: one machine's runtimes, or its precisions.

The paper carries results between tiers and counts a chip once. A user's first catalogue has one tier and one
chip; what it can answer is whether a runtime's ranking holds for another, and a sentence says that no more is
answered.
"""

from __future__ import annotations

from dataclasses import replace

from frm_mlflow.analysis.fleet import SIDE, UNIT, Fleet
from frm_mlflow.schema import PRECISION, RUNTIME

_STAND_INS = (RUNTIME, PRECISION)


def with_stand_ins(fleet: Fleet) -> tuple[Fleet, str]:
    """Return the fleet with the sides that it has, and a sentence on what stands in for what; "" where nothing does.

    With two tiers nothing changes. In one tier the sides are its runtimes, with one runtime its precisions. Pairs
    of configurations are to differ in their chip as long as there are two chips; of one chip, in their side. What
    intervals draw stays the chip, so of one chip there is none.
    """
    tiers = set(fleet.tiers)
    if len(tiers) > 1:
        return fleet, ""
    table = fleet.configurations
    axis = next((tag.column for tag in _STAND_INS if table[tag.column].nunique() > 1), None)
    if axis is None:
        return fleet, ""
    said = f"All configurations are of one tier ({min(tiers)}): its {axis}s take the place of tiers here."
    changed = table.assign(**{SIDE: table[axis]})
    if len(set(fleet.chips)) == 1:
        changed[UNIT] = fleet.chips + " · " + table[axis].to_numpy(dtype=object)
        said += f" They all stand on one chip ({fleet.chips[0]}): there is no interval, and another chip is not meant."
    return replace(fleet, configurations=changed), said
