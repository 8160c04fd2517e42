"""Measure how often a gate is right, for a candidate with 10 % more layers and an identical one, idle and busy.

    python benchmarks/gate.py --check

Each candidate goes through 20 gates with a limit of 5 %. A slower one must fail and an identical one pass in at
least 18 of 20, and no verdict may be wrong more often than the confidence allows. `--busy 2`
adds two processes that keep one core busy each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mlflow import MlflowClient
from results import add_option, recorded
from torch import nn

from frm_mlflow.config import GateConfig, checked
from frm_mlflow.gate.checks import Verdict
from frm_mlflow.gate.decision import decide
from frm_mlflow.sweep.compose import composed

LAYERS = 20
SLOWER = 22
ENOUGH = 0.9


def network(layers: int) -> nn.Module:
    """Return a stack of equal convolutions, whose time is proportional to their number."""
    torch.manual_seed(0)
    pairs = [part for _ in range(layers) for part in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*pairs).eval()


def save(layers: int, path: Path) -> str:
    """Write the network as an exported program and return its path."""
    torch.export.save(torch.export.export(network(layers), (torch.randn(1, 32, 32, 32),)), path)
    return str(path)


def _burn() -> None:
    while True:
        sum(range(10_000))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep this many cores busy while the block runs."""
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(processes)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()


def verdicts(candidate: str, against: str, *, times: int, scratch: Path) -> Counter[Verdict]:
    """Return the count of each verdict. The networks are exported to `scratch` once."""
    given: Counter[Verdict] = Counter()
    client = MlflowClient(f"sqlite:///{scratch}/mlflow.db")
    for seed in range(times):
        words = [f"candidate={candidate}", f"against={against}", "max_regression=5%", "numbers=measured"]
        words += ["runtime.threads=1", f"measure.seed={seed}"]
        asked = checked(GateConfig, composed("gate", words), where="gate")
        result = decide(asked, client, scratch=scratch)
        given[result.verdict] += 1
        said = "; ".join([check.sentence for check in result.checks] or result.reasons)
        print(f"  {seed + 1:2d} {result.verdict.value:9s} {said}", flush=True)
    return given


def main() -> int:
    """Print the table; with `--check`, exit with 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 2], help="burner processes of each round")
    add_option(parser)
    options = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        shipped = save(LAYERS, Path(folder) / "shipped.pt2")
        slower = save(SLOWER, Path(folder) / "slower.pt2")
        for burners in options.busy:
            for name, candidate, right in (("slower", slower, Verdict.FAIL), ("identical", shipped, Verdict.PASS)):
                with busy(burners):
                    given = verdicts(candidate, shipped, times=options.times, scratch=Path(folder))
                line = f"{burners} burners, {name}: " + ", ".join(f"{v.value} {given[v]}" for v in Verdict)
                print(line, flush=True)
                if given[right] < ENOUGH * options.times:
                    missed.append(line)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
