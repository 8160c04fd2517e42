"""Substitutes for tiers and chips if all benchmarks share one: the runtimes of one machine, or its precisions.

The paper transfers results between tiers and counts a chip once. A user's first catalogue has one tier and one
chip. It can show whether a ranking holds from one runtime to another, and a sentence states that it shows no
more than that.
"""

from __future__ import annotations

from dataclasses import replace

from frm_mlflow.analysis.fleet import SIDE, UNIT, Fleet
from frm_mlflow.schema import PRECISION, RUNTIME

_STAND_INS = (RUNTIME, PRECISION)


def with_stand_ins(fleet: Fleet) -> tuple[Fleet, str]:
    """Return the fleet with the available sides, and a sentence on what replaces what; "" if nothing is replaced.

    With two tiers nothing changes. With one tier the sides are its runtimes, and with one runtime its precisions.
    Pairs of configurations must differ in their chip if there are at least two chips, otherwise in their side.
    Intervals always resample chips, so a single chip has no interval.
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
