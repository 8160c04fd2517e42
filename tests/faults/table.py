"""The campaign's results as lines, a table and a summary."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import machine, write_section
from tests.faults.cases import FAULTS

Result = dict[str, Any]


def is_good(result: Result) -> bool:
    """Whether nothing was wrong after this fault."""
    return not (result["lost"] or result["doubled"] or result["running"] or result["problems"])


def line(result: Result) -> str:
    """Return one fault as a line."""
    words = f"{result['case']}: {result['did']}; codes {result['codes']}; {result['seconds']:.1f} s"
    return words if is_good(result) else f"{words}; BAD {_wrong(result)} (log: {result['log']})"


def _wrong(result: Result) -> str:
    counts = [f"{result[key]} {key}" for key in ("lost", "doubled", "running") if result[key]]
    return "; ".join([*counts, *result["problems"]])


def markdown(results: Sequence[Result]) -> str:
    """Return a table with one row per case."""
    head = "| fault | injected | measurements | lost | doubled | left RUNNING | other faults found | median s |"
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    for fault in FAULTS:
        mine = [result for result in results if result["case"] == fault.name]
        if mine:
            rows.append(_row(fault.title, mine))
    return "\n".join([*rows, _row("**all**", results)])


def _row(title: str, results: Sequence[Result]) -> str:
    sums = [sum(result[key] for result in results) for key in ("finished", "lost", "doubled", "running")]
    other = sum(len(result["problems"]) for result in results)
    seconds = statistics.median(result["seconds"] for result in results) if results else 0.0
    cells = [title, len(results), *sums, other, f"{seconds:.1f}"]
    return f"| {' | '.join(map(str, cells))} |"


def summary(results: Sequence[Result]) -> str:
    """Return a sentence with the counts."""
    lost, doubled, running = (sum(result[key] for result in results) for key in ("lost", "doubled", "running"))
    other = sum(len(result["problems"]) for result in results)
    return (
        f"{len(results)} faults injected into {len({r['case'] for r in results})} kinds: "
        f"{sum(r['finished'] for r in results)} finished measurements, {lost} lost, {doubled} doubled, "
        f"{running} runs left RUNNING, {other} other faults found"
    )


def write(page: Path, results: Sequence[Result], *, seed: int) -> None:
    """Put the table between the page's markers."""
    write_section(
        page, "tests/faults/campaign.py", f"{summary(results)} ({machine()}, seed {seed}).\n\n{markdown(results)}"
    )
