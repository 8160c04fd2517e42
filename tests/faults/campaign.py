"""The fault campaign: `python -m tests.faults.campaign --faults 200 --seed 0`.

Each fault hits a real sweep (real server, real inference) at a random moment drawn with its seed. Then the sweep is
recovered as documented, and the contents of the server and the disk are checked. Results accumulate in a
file, so an interrupted campaign can be continued; `--write` puts the table into docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults import table
from tests.faults.cases import FAULTS
from tests.faults.fault import Fault
from tests.faults.verdict import judge
from tests.faults.world import ROOT, World, running_world

Result = dict[str, Any]
TRIES = 4
"""Number of moments drawn for one fault before giving up: a sweep may end before the moment comes."""


def inject(world: World, fault: Fault, number: int, *, seed: int) -> Result | None:
    """Inject one fault, recover and judge; None if every sweep ended before the fault could hit."""
    for attempt in range(TRIES):
        rng = random.Random(f"{seed}/{fault.name}/{number}/{attempt}")
        case = world.case(fault.name, number * TRIES + attempt)
        started = time.monotonic()
        try:
            done = fault.inject(case, rng)
            world.fair()
            case.recover()
            verdict = judge(case).to_dict()
        except Exception:  # the campaign continues, and its table shows the failure
            world.fair()
            done, verdict = "the case itself failed", _broken(traceback.format_exc())
        seconds = time.monotonic() - started
        good = not (verdict["problems"] or verdict["lost"] or verdict["doubled"] or verdict["running"])
        if good:
            shutil.rmtree(case.folder, ignore_errors=True)
            world.artifact_disk.clear()
        if done or not good:
            facts = {"case": fault.name, "number": number, "did": done, "codes": case.codes, "seconds": seconds}
            return facts | {"log": str(case.log)} | verdict
    return None


def _broken(reason: str) -> Result:
    return {"finished": 0, "lost": 0, "doubled": 0, "running": 0, "unfinished": 0, "problems": [reason[-1500:]]}


def campaign(
    world: World, faults: Sequence[Fault], results: list[Result], *, wanted: int, seed: int, deadline: float
) -> Iterator[Result]:
    """Yield the result of each fault, in rounds over all cases, until there are `wanted` results."""
    known = {(result["case"], result["number"]) for result in results}
    total, number = len(results), 0
    while total < wanted:
        for fault in faults:
            if total >= wanted or time.monotonic() > deadline:
                return
            if (fault.name, number) in known or number % fault.every:
                continue
            result = inject(world, fault, number, seed=seed)
            if result is not None:
                total += 1
                yield result
        number += 1


def main(arguments: Sequence[str]) -> int:
    """Run the campaign, print each fault and the summary; the exit code is 1 if anything was wrong."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that no process is left running
    path = Path(options.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    results: list[Result] = json.loads(path.read_text()) if path.exists() else []
    deadline = time.monotonic() + 60 * options.minutes
    folder = Path(tempfile.mkdtemp(prefix="frm-faults-"))
    if len(results) < options.faults:
        with running_world(folder) as world:
            chosen = [f for f in FAULTS if not options.case or f.name in options.case]
            for fault in [f for f in chosen if f.missing(world)]:
                print(f"{fault.name}: left out: {fault.missing(world)}", flush=True)
            able = [fault for fault in chosen if not fault.missing(world)]
            for result in campaign(world, able, results, wanted=options.faults, seed=options.seed, deadline=deadline):
                results.append(result)
                path.write_text(json.dumps(results, indent=1))
                print(f"[{len(results)}/{options.faults}] {table.line(result)}", flush=True)
    if all(table.is_good(result) for result in results):
        shutil.rmtree(folder, ignore_errors=True)
    if options.write:
        table.write(ROOT / "docs" / "results.md", results, seed=options.seed)
    print(table.markdown(results))
    print(table.summary(results))
    return 0 if all(table.is_good(result) for result in results) else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many to inject in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", action="append", help="only this case (may be repeated)")
    parser.add_argument("--results", default=str(ROOT / "build" / "faults.json"), help="where results accumulate")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so long; the same command goes on")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
