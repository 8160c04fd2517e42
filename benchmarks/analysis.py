"""Time all analyses at the paper's size and at 20,000 benchmarks, against a naive pandas and SciPy loop.

    python benchmarks/analysis.py            # prints the table
    python benchmarks/analysis.py --check    # also exits with 1 if a target is missed
    python benchmarks/analysis.py --plot out.html    # or out.png

Targets: 1,527 benchmarks in 20 s, 20,000 in 60 s and 2 GiB, growth from 2,000 to 20,000 rows
close to linear, and 10 times faster than the naive loop with the same numbers. Each size runs in
a separate process, so that its peak memory is measured separately.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from results import add_option, recorded

from frm_mlflow.analysis.controls import PREDICTORS
from frm_mlflow.analysis.frontiers import PARETO
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import run_all
from frm_mlflow.analysis.stability import STABILITY
from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame
from frm_mlflow.analysis.transfer import TRANSFER

PAPER_ROWS = 1527
LARGE_ROWS = 20_000
SECONDS = {PAPER_ROWS: 20.0, LARGE_ROWS: 60.0}
MEMORY_GIB = 2.0
SPEED_UP = 10.0
GROWTH = 1.3
"""Largest exponent of time over rows that still counts as close to linear."""

TRANSFER_QUESTIONS = [(p, w) for p in PREDICTORS for w in ("itself", "frm", "latency") if p != w]
PARETO_QUESTIONS = [(p, o) for p in ("frm", "latency", "flops") for o in ("frm", "latency")]
"""What the naive loop covers: all questions of `transfer`, 6 of the 10 of `pareto`, and no shuffled control."""


def frame_of(rows: int) -> pd.DataFrame:
    """Return a synthetic frame of `rows` benchmarks: 13 models and 119 configurations at the paper's size, or more."""
    models = 13 if rows <= PAPER_ROWS else 40
    configurations = round(1.01 * rows / models)
    edge = round(configurations * 0.88)
    gpu = max(1, round(configurations * 0.07))
    devices = {"gpu": gpu, "cpu": max(1, configurations - edge - gpu), "edge": edge}
    recipe = SyntheticRecipe(devices=devices, n_models=models)
    frame = synthetic_frame(recipe, np.random.default_rng(0))
    spare = frame.index[frame["model"] != "resnet50"]
    lost = np.random.default_rng(1).choice(spare, len(frame) - rows, replace=False)
    return frame.drop(index=lost)


def measure(rows: int) -> dict[str, float]:
    """Return the seconds of each analysis and of all together, and the peak memory of this process."""
    frame = frame_of(rows)
    marks: list[tuple[str, float]] = []
    start, cpu_start = time.perf_counter(), time.process_time()
    report = run_all(
        frame,
        options=AnalysisOptions(),
        rng=np.random.default_rng(0),
        progress=lambda name, *_: marks.append((name, time.perf_counter())),
    )
    end = time.perf_counter()
    ends = [*(at for _, at in marks[1:]), end]
    seconds = {name: done - began for (name, began), done in zip(marks, ends, strict=True)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        {"rows": len(frame), "answered": len(report.results), "select": marks[0][1] - start}
        | seconds
        | {
            "total_s": end - start,
            "cpu_s": time.process_time() - cpu_start,
            "peak_gib": peak,
        }
    )


def measure_apart(rows: int) -> dict[str, float]:
    """Return the result of `measure(rows)` in a fresh process."""
    command = [sys.executable, __file__, "--one", str(rows)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def side_by_side(resamples: int) -> pd.DataFrame:
    """Return the seconds of the fast and the naive version at the paper's size, and how much their numbers differ."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit" / "analysis"))
    import naive_twins as twin

    frame = frame_of(PAPER_ROWS)
    options = AnalysisOptions(resamples=resamples, shuffles=10)
    run_all(frame, options=options, rng=np.random.default_rng(0))
    naive, frm_seconds = _timed(lambda: twin.with_frm(frame))

    def naive_stability() -> list[float]:
        found = [twin.stability(naive, metric) for metric in ("frm", "latency", "memory", "flops", "params")]
        twin.bootstrap_pair_mean(naive, "frm", resamples, np.random.default_rng(0))
        return found

    def naive_transfer() -> list[float]:
        rng = np.random.default_rng(0)
        found = []
        for source, target in twin.tier_pairs(naive):
            chips = naive[naive["tier"] == target]["chip"].nunique()
            for predictor, wanted in TRANSFER_QUESTIONS:
                found.append(twin.tier_transfer(naive, predictor, wanted, source, target)[0])
                for _ in range(resamples):
                    rng.choice(chips, chips).mean()
        return found

    def naive_pareto() -> list[float]:
        return [
            twin.transferred(naive, predictor, objective, source, target)["f1"].mean()
            for source, target in twin.tier_pairs(naive)
            for predictor, objective in PARETO_QUESTIONS
        ]

    def fast(name: str) -> tuple[object, float]:
        return _timed(lambda: run_all(frame, [name], options=options, rng=np.random.default_rng(0)).results[name])

    rows = []
    for analysis, twin_of in ((STABILITY, naive_stability), (TRANSFER, naive_transfer), (PARETO, naive_pareto)):
        slow, slow_seconds = _timed(twin_of)
        result, seconds = fast(analysis.name)
        difference = np.nanmax(np.abs(np.array(slow) - _numbers(analysis.name, result, twin.tier_pairs(naive))))
        rows.append(
            {
                "analysis": analysis.name,
                "naive_s": slow_seconds + frm_seconds,
                "fast_s": seconds,
                "difference": difference,
            }
        )
    return pd.DataFrame(rows).assign(speed_up=lambda table: table["naive_s"] / table["fast_s"])


def _numbers(name: str, result: object, directions: list[tuple[str, str]]) -> np.ndarray:
    tables = result.tables  # type: ignore[attr-defined]
    if name == "stability":
        return (
            tables["metrics"].set_index("metric").loc[["frm", "latency", "memory", "flops", "params"], "rho"].to_numpy()
        )
    if name == "transfer":
        table = tables["sides"].set_index(["source", "target", "predictor", "predicts"])["rho"]
        return np.array([table[s, t, p, w] for s, t in directions for p, w in TRANSFER_QUESTIONS])
    table = tables["sides"].set_index(["source", "target", "objective", "predictor"])["f1"]
    return np.array([table[s, t, o, p] for s, t in directions for p, o in PARETO_QUESTIONS])


def _timed(function: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def growth(table: pd.DataFrame) -> float:
    """Return the exponent of CPU time over rows (1 is linear); wall time would depend on other load on the machine."""
    return float(np.polyfit(np.log(table["rows"]), np.log(table["cpu_s"]), 1)[0])


def misses(sizes: pd.DataFrame, exponent: float, naive: pd.DataFrame) -> list[str]:
    """Return a description of every missed target."""
    found = []
    for rows, seconds in SECONDS.items():
        took = float(sizes.set_index("rows").loc[rows, "total_s"])
        if took > seconds:
            found.append(f"{rows} rows took {took:.1f} s, at most {seconds:.0f} s")
    if sizes["peak_gib"].max() > MEMORY_GIB:
        found.append(f"peak memory {sizes['peak_gib'].max():.2f} GiB, at most {MEMORY_GIB:.0f}")
    if exponent > GROWTH:
        found.append(f"time grows with rows to the power {exponent:.2f}, at most {GROWTH}")
    slow = naive[naive["speed_up"] < SPEED_UP]
    found += [f"{row['analysis']} is only {row['speed_up']:.1f} times faster" for row in slow.to_dict("records")]
    if naive["difference"].max() > 1e-9:
        found.append(f"numbers differ from the naive loop's by {naive['difference'].max():.1e}")
    return found


def main() -> int:
    """Run the benchmark; return 1 if `--check` finds a missed target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--plot", type=Path, help="write time over rows as a figure, HTML or PNG")
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap resamples of the side by side part")
    parser.add_argument("--naive-only", action="store_true", help="only the side by side part")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    add_option(parser)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return 0
    if arguments.naive_only:
        print(side_by_side(arguments.resamples).to_string(index=False, float_format=lambda value: f"{value:.3g}"))
        return 0
    sizes = pd.DataFrame([measure_apart(rows) for rows in (PAPER_ROWS, 2000, 5000, 10_000, LARGE_ROWS)])
    exponent = growth(sizes[sizes["rows"] >= 2000])
    naive = side_by_side(arguments.resamples)
    print(sizes.round(2).to_string(index=False))
    print(f"\ntime grows with rows to the power {exponent:.2f} from 2,000 to 20,000\n")
    print(naive.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    if arguments.plot:
        _plot(sizes, arguments.plot)
    missed = misses(sizes, exponent, naive)
    print("\n" + ("\n".join(f"MISSED: {line}" for line in missed) or "all targets met"))
    return 1 if arguments.check and missed else 0


def _plot(sizes: pd.DataFrame, path: Path) -> None:
    import plotly.graph_objects as go

    from frm_mlflow.report.figures import titled, write_html, write_png

    figure = go.Figure()
    for name, column in (("wall", "total_s"), ("processor", "cpu_s")):
        figure.add_scatter(x=sizes["rows"], y=sizes[column], name=name, mode="lines+markers")
    titled(figure, "All analyses, 2,000 resamples", x="benchmarks", y="seconds")
    if path.suffix == ".png":
        for note in write_png({path: figure})[1]:
            print(note)
    else:
        write_html(figure, path)


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
