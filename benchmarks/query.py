"""Time queries of 20,000 runs on an MLflow server: ours against `mlflow.search_runs`, and a refresh against a query.

    python benchmarks/query.py --check

`--check` exits with 1 unless the first query takes a third of the client CPU of
`mlflow.search_runs` and no more wall time, and a refresh with 100 new runs is 20 times faster
than querying again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd
from mlflow_server import running_server
from results import add_option, recorded
from seeding import seed

from frm_mlflow.tracking import server
from frm_mlflow.tracking.query import IS_BENCHMARK, benchmarks

EXPERIMENT = "fleet"
MLFLOW_TIMEOUT_S = "3600"
"""MLflow requests 10,000 runs at once; on a slow machine that takes longer than its default timeout of 120 s."""
CPU_FACTOR, WALL_FACTOR, REFRESH_FACTOR = 3.0, 1.0, 20.0


@dataclass(frozen=True)
class Cost:
    """The cost of one call: seconds of wall time and of this process's CPU time."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Comparison:
    """The four calls, in the order in which they were made."""

    runs: int
    new_runs: int
    mlflow_search_runs: Cost
    first_query: Cost
    query_again: Cost
    refresh: Cost

    def factors(self) -> dict[str, tuple[float, float]]:
        """Return each target by name, with the measured and the required factor."""
        theirs, ours = self.mlflow_search_runs, self.first_query
        return {
            "client CPU, mlflow.search_runs / first query": (theirs.cpu_s / ours.cpu_s, CPU_FACTOR),
            "wall time, mlflow.search_runs / first query": (theirs.wall_s / ours.wall_s, WALL_FACTOR),
            "wall time, querying again / refresh": (self.query_again.wall_s / self.refresh.wall_s, REFRESH_FACTOR),
        }


def timed(call: Callable[[], pd.DataFrame], expected: int) -> Cost:
    """Return the cost of `call`, which must return `expected` rows."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = len(call())
    cost = Cost(time.perf_counter() - wall, time.process_time() - cpu)
    if rows != expected:
        raise RuntimeError(f"{rows} rows instead of {expected}")
    return cost


def compare(runs: int, new_runs: int, folder: Path, *, workers: int) -> Comparison:
    """Seed a server and make the four calls."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = MLFLOW_TIMEOUT_S
    rng = np.random.default_rng(0)
    database = f"sqlite:///{folder}/mlflow.db"
    seed(database, EXPERIMENT, runs, rng=rng)
    with running_server(folder, workers=workers) as uri:
        client = server.connect(uri)
        mlflow.set_tracking_uri(uri)

        def search() -> pd.DataFrame:
            found = mlflow.search_runs(experiment_names=[EXPERIMENT], filter_string=IS_BENCHMARK, max_results=10**6)
            assert isinstance(found, pd.DataFrame)
            return found

        def query(*, cached: bool) -> pd.DataFrame:
            return benchmarks(client, [EXPERIMENT], cached=cached, folder=folder / "cache").frame

        theirs = timed(search, runs)
        first = timed(lambda: query(cached=True), runs)
        seed(database, EXPERIMENT, new_runs, rng=rng, first=runs)
        again = timed(lambda: query(cached=False), runs + new_runs)
        refresh = timed(lambda: query(cached=True), runs + new_runs)
    return Comparison(runs, new_runs, theirs, first, again, refresh)


def main() -> int:
    """Run the comparison and print it; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--new-runs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4, help="server processes; 4 is MLflow's own default")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless every promise is kept")
    add_option(parser)
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        result = compare(arguments.runs, arguments.new_runs, Path(scratch), workers=arguments.workers)
    costs = asdict(result)
    for name in ("mlflow_search_runs", "first_query", "query_again", "refresh"):
        print(f"{name:20} {costs[name]['wall_s']:8.2f} s wall {costs[name]['cpu_s']:8.2f} s client CPU")
    kept = True
    for name, (measured, needed) in result.factors().items():
        kept &= measured >= needed
        print(f"{name}: {measured:.1f} (needed: {needed:g}) {'ok' if measured >= needed else 'NOT KEPT'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(costs, indent=2))
    return 0 if kept or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
