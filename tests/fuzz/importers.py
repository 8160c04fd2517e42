"""The importers' fuzzer: `python -m tests.fuzz.importers --inputs 12000` prints a row for docs/results.md.

Each input is a sample with seeded mutations, read in a child process. An input that crashes, hangs or takes
too much memory ends only that child and is counted, and the next child continues after it. `--seed N`
repeats a single input.
"""

from __future__ import annotations

import argparse
import json
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_GROWTH_MIB = 1024
MAX_SECONDS = 20.0
SILENCE_S = 300.0
"""Wall time without output after which a child counts as hanging; long because the machine may be busy."""
CHUNK = 400


@dataclass
class Tally:
    """Counts of the outcomes."""

    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, kind: str, seed: int, problem: str) -> None:
        self.kinds[kind] += 1
        if kind not in ("read", "refused"):
            self.problems.append(f"seed {seed}: {kind}: {problem}")

    @property
    def inputs(self) -> int:
        return sum(self.kinds.values())

    def row(self, what: str) -> str:
        """Return the row of the table in docs/results.md."""
        counts = (self.inputs, self.kinds["uncaught"], self.kinds["crash"], self.kinds["costly"], self.kinds["absurd"])
        return f"| {what} | " + " | ".join(f"{count:,}" for count in counts) + " |"


def fuzz(seeds: Sequence[int]) -> Tally:
    """Read the input for every seed and return the outcomes."""
    tally = Tally()
    for start in range(0, len(seeds), CHUNK):
        left = list(seeds[start : start + CHUNK])
        while left:
            left = _one_child(left, tally)
    return tally


def _one_child(seeds: list[int], tally: Tally) -> list[int]:
    """Have one child read the seeds; return those that it did not reach."""
    command = [sys.executable, "-m", "tests.fuzz.child", *map(str, seeds)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, bufsize=0) as child,
    ):
        done, begun = 0, False
        for message in _messages(child):
            begun = bool(message.get("begin"))
            if begun:
                continue
            done += 1
            kind, problem = message["kind"], message["problem"]
            if message["grown_mib"] > MAX_GROWTH_MIB or message["seconds"] > MAX_SECONDS:
                kind, problem = "costly", f"{message['grown_mib']:.0f} MiB, {message['seconds']:.1f} s"
            tally.add(kind, message["seed"], f"{message['source']} {message['file']}: {problem}")
            if kind == "costly":
                break
        child.kill()
        child.wait()
        errors.seek(0)
        error = errors.read()[-400:].decode(errors="replace")
    if done == len(seeds) or (done and kind == "costly"):
        return seeds[done:]
    if not begun and done == 0:
        raise RuntimeError(f"the child did not start: {error}")
    tally.add("crash", seeds[done], f"exit code {child.returncode} or silent for {SILENCE_S:.0f} s; {error}")
    return seeds[done + 1 :]


def _messages(child: subprocess.Popen[bytes]) -> Iterator[dict]:
    """Yield the child's lines until it ends or is silent for too long."""
    assert child.stdout is not None
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while selector.select(timeout=SILENCE_S):
            part = child.stdout.read(2**16)
            if not part:
                return
            *lines, received = (received + part).split(b"\n")
            yield from map(json.loads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=12_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    started_s = time.monotonic()
    seeds = (
        [arguments.seed] if arguments.seed is not None else range(arguments.first, arguments.first + arguments.inputs)
    )
    tally = fuzz(seeds)
    for problem in tally.problems:
        print(problem)
    print(dict(tally.kinds), f"{time.monotonic() - started_s:.0f} s")
    print(tally.row("importers"))


if __name__ == "__main__":
    main()
