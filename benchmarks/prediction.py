"""Measure accuracy, calibration and speed of predictions for held-out devices, against the paper's method and controls.

    python benchmarks/prediction.py                  # fetches AI Hub's wheel, prints the tables
    python benchmarks/prediction.py --check          # also exits with 1 if a target is missed
    python benchmarks/prediction.py --source FILE    # a local wheel, folder or YAML file of AI Hub
    python benchmarks/prediction.py --gpu FILE.csv   # timm's table for one GPU: predict phones from GPU history alone
    python benchmarks/prediction.py --speed          # only speed
    python benchmarks/prediction.py --figures DIR    # also draws the reliability curve and F1 over anchors as PNG

History: AI Hub 0.65.0, image classifiers that ran on the NPU, jobs published under several device names
counted once, configurations with at least 20 models; 15 chips. A chip (or chip generation) is held out with all its
devices and runtimes. Means are over chips, intervals from a bootstrap over chips. About ten minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from results import add_option, recorded
from scipy.stats import spearmanr

from frm_mlflow.analysis.pareto import frontier
from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame
from frm_mlflow.frame import from_records
from frm_mlflow.importers import read
from frm_mlflow.prediction import Evaluation, EvaluationOptions, PredictionOptions, Target, evaluate
from frm_mlflow.prediction.history import history_of, scene_of
from frm_mlflow.prediction.learning import frontier_score
from frm_mlflow.prediction.prediction import predict_scene
from frm_mlflow.report.figures import write_png
from frm_mlflow.report.prediction import reliability_figure, score_figure

PROTOCOLS = ("chip", "generation")
SHOWN = ["f1", "f1_low", "f1_high", "spearman", "mape", "coverage", "brier", "brier_of_points"]
SPEED_SECONDS, FRONTIER_MS = 10.0, 50.0


def aihub(source: Path | None) -> pd.DataFrame:
    """Return AI Hub's classifiers as a tidy frame, NPU only, since other compute units are other configurations."""
    frame = from_records(read("aihub", source).records)
    return frame[frame["compute_unit"] == "npu"]


def run(protocol: str, frame: pd.DataFrame) -> Evaluation:
    """Evaluate one protocol."""
    options = EvaluationOptions(protocols=[protocol])
    return evaluate(frame, PredictionOptions(), options, np.random.default_rng(0))


def evaluations(frame: pd.DataFrame) -> dict[str, Evaluation]:
    """Evaluate the protocols, each in its own process."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        found = pool.map(run, PROTOCOLS, [frame] * len(PROTOCOLS))
        return dict(zip(PROTOCOLS, found, strict=True))


def accuracy_checks(results: dict[str, Evaluation]) -> Iterator[tuple[str, bool]]:
    """Yield each claim about accuracy and whether it holds."""
    chip, generation = (_auto(results[name]) for name in PROTOCOLS)
    yield f"no anchor: F1 {chip.loc[0, 'f1']:.3f} at least 0.91", chip.loc[0, "f1"] >= 0.91
    yield f"no anchor: Spearman {chip.loc[0, 'spearman']:.3f} at least 0.98", chip.loc[0, "spearman"] >= 0.98
    yield f"5 anchors: F1 {chip.loc[5, 'f1']:.3f} at least 0.93", chip.loc[5, "f1"] >= 0.93
    yield f"5 anchors: Spearman {chip.loc[5, 'spearman']:.3f} at least 0.985", chip.loc[5, "spearman"] >= 0.985
    yield f"5 anchors: error {chip.loc[5, 'mape']:.1%} at most 9 %", chip.loc[5, "mape"] <= 0.09
    for count in (0, 5):
        loss = chip.loc[count, "f1"] - generation.loc[count, "f1"]
        yield f"{count} anchors: a generation costs {loss:.3f} of F1, at most 0.03", loss <= 0.03
    yield from _choice_checks(results["chip"])


def uncertainty_checks(results: dict[str, Evaluation]) -> Iterator[tuple[str, bool]]:
    """Yield each claim about uncertainty, budgets and plans, and whether it holds."""
    chip = _auto(results["chip"])
    for count in (1, 3, 5, 10):
        covered = chip.loc[count, "coverage"]
        yield f"{count} anchors: 90 % intervals cover {covered:.1%}, 87 to 93 %", 0.87 <= covered <= 0.93
        brier, points = chip.loc[count, ["brier", "brier_of_points"]]
        yield f"{count} anchors: Brier {brier:.4f} below {points:.4f} of 0/1 predictions", brier < points
    budgets = results["chip"].tables()["budgets"].set_index("predictor").loc["auto"]
    broken, given_up = budgets["confident_violated"], budgets["confident_given_up"]
    yield f"budgets broken {broken:.1%}, at most 10 %", broken <= 0.10
    yield f"accuracy given up {given_up:.2f} points, at most 1.5", given_up <= 1.5
    fixed = budgets["same_violations_given_up"]
    yield f"less than a fixed safety factor as safe ({fixed:.2f} points)", given_up < fixed
    gain = results["chip"].tables()["plan_gain"].set_index("score").loc["f1"]
    yield f"planned beat random anchors by {gain['planned_minus_random']:.3f} of F1", gain["planned_minus_random"] > 0


def _auto(result: Evaluation) -> pd.DataFrame:
    table = result.tables()["scores"]
    return table[(table["predictor"] == "auto") & (table["plan"] == "planned")].set_index("anchors")


def _choice_checks(result: Evaluation) -> Iterator[tuple[str, bool]]:
    table = result.tables()["scores"].query("plan == 'planned'")
    for count, rows in table.groupby("anchors"):
        f1 = rows.set_index("predictor")["f1"]
        best = f1.drop("auto").idxmax()
        short = f1[best] - f1["auto"]
        yield f"{count} anchors: automatic choice {short:.3f} below the best ({best}), at most 0.01", short <= 0.01


def speed_checks() -> Iterator[tuple[str, bool]]:
    """Yield the claims about speed, on synthetic data of the stated size."""
    frame = synthetic_frame(SyntheticRecipe(devices={"edge": 200}, n_models=2000), np.random.default_rng(0))
    target = Target(device="edge-000")
    history, _ = history_of(frame)
    names = [history.models[index] for index in range(0, 2000, 400)]
    scene = scene_of(frame, target, anchors=names)
    start = time.process_time()
    predict_scene(scene, PredictionOptions(predictor="transfer", draws=1000), np.random.default_rng(0))
    seconds = time.process_time() - start
    claim = f"200 devices x 2,000 models, 5 anchors, 1,000 draws: {seconds:.1f} s of one core, at most 10 s"
    yield claim, seconds <= SPEED_SECONDS
    yield from _frontier_speed()


def _frontier_speed() -> Iterator[tuple[str, bool]]:
    from paretoset import paretoset

    rng = np.random.default_rng(1)
    costs, values = rng.random(100_000), rng.random(100_000)
    ours = _best_of(lambda: frontier(costs, values))
    theirs = _best_of(lambda: paretoset(np.column_stack([costs, values]), sense=["min", "max"]))
    yield f"frontier of 100,000: {ours:.1f} ms, at most {FRONTIER_MS:g} ms", ours <= FRONTIER_MS
    yield f"frontier of 100,000: not slower than paretoset ({theirs:.1f} ms)", ours <= theirs


def _best_of(call: object, *, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def gpu_only(frame: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Return how well a GPU alone, and rankings that need no run, predict the phones' accuracy-latency frontiers.

    Mean over chips of the F1 and Spearman of each single ranking, over the models that both sources have.
    """
    gpu = from_records(read("timm", table).records)
    phones, graphics = history_of(frame)[0], history_of(gpu)[0]
    shared = [name for name in phones.models if name in graphics.models]
    here, there = phones.positions(shared), graphics.positions(shared)
    latency = np.nanmean(graphics.log_latency[:, there], axis=0)
    gmacs, params = np.log(phones.facts.gmacs[here]), np.log(phones.facts.params_m[here])
    rankings = {
        "GPU latency": latency,
        "FLOPs": gmacs,
        "FLOPs and GPU latency (algorithm 1 without memory)": gmacs + latency,
        "parameters": params,
        "FLOPs and parameters": gmacs + params,
    }
    enough = np.flatnonzero(np.isfinite(phones.log_latency[:, here]).sum(axis=1) >= 20)
    rows = []
    for name, ranking in rankings.items():
        scores = pd.DataFrame(
            [
                {
                    "chip": phones.chips[row],
                    "f1": frontier_score(ranking, phones.log_latency[row, here], phones.facts.top1[here]),
                    "spearman": spearmanr(ranking, phones.log_latency[row, here], nan_policy="omit").statistic,
                }
                for row in enough
            ]
        )
        rows.append({"ranking": name, "models": len(shared)} | scores.groupby("chip").mean().mean().to_dict())
    return pd.DataFrame(rows)


def _draw(result: Evaluation, folder: Path) -> None:
    tables = result.tables()
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        folder / "prediction_reliability.png": reliability_figure(tables["reliability"]),
        folder / "prediction_f1.png": score_figure(tables["scores"], "chip"),
    }
    for note in write_png(figures)[1]:
        print(note)


def main() -> int:
    """Print the tables and the checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--source", type=Path, help="AI Hub's wheel, folder or YAML; by default fetched")
    parser.add_argument("--gpu", type=Path, help="a benchmark table of timm, for the GPU-only question")
    parser.add_argument("--figures", type=Path, help="folder for the figures, as PNG")
    parser.add_argument("--speed", action="store_true", help="only the speed")
    add_option(parser)
    arguments = parser.parse_args()
    checks = list(speed_checks())
    if not arguments.speed:
        frame = aihub(arguments.source)
        results = evaluations(frame)
        for name, result in results.items():
            table = result.tables()["scores"]
            columns = ["predictor", "anchors", "plan", *[c for c in SHOWN if c in table]]
            print(f"\nleave one {name} out\n{table[columns].round(4).to_string(index=False)}")
        print(f"\nbudgets\n{results['chip'].tables()['budgets'].round(3).T.to_string()}")
        print(f"\nplan\n{results['chip'].tables()['plan_gain'].round(4).to_string(index=False)}")
        checks += [*accuracy_checks(results), *uncertainty_checks(results)]
        if arguments.figures:
            _draw(results["chip"], arguments.figures)
        if arguments.gpu:
            print(f"\nonly a GPU's history\n{gpu_only(frame, arguments.gpu).round(3).to_string(index=False)}")
    print()
    for claim, holds in checks:
        print("ok    " if holds else "MISSED", claim)
    return int(arguments.check and not all(holds for _, holds in checks))


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
