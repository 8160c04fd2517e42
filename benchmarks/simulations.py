"""Simulate how often intervals, flags and tests do what they claim. The truth is known and no device is needed.

    python -m benchmarks.simulations            # prints the tables of docs/results.md
    python -m benchmarks.simulations --check    # also exits with 1 if a claim does not hold
    python -m benchmarks.simulations --repeats 500

Everything is seeded. `tests/property/test_simulated_claims.py` runs the same simulations with fewer repeats.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.results import add_option, recorded
from frm_mlflow.analysis.bootstrap import ANY_NUMBER, SHARE, ChipInterval, ClusterMeans, pair_mean_interval
from frm_mlflow.analysis.frm import frm_interval
from frm_mlflow.analysis.interval import Interval
from frm_mlflow.analysis.significance import mann_whitney, signed_ranks
from frm_mlflow.config import MeasureConfig
from frm_mlflow.gate.checks import Check, Verdict
from frm_mlflow.measure import estimate
from frm_mlflow.measure.stability import LARGEST_DRIFT
from frm_mlflow.measure.summary import memory_ratio

Floats = NDArray[np.float64]

RATIO = 0.25
"""The truth: the model takes a quarter of the baseline's time."""
PAIRS = 8
"""Pairs of blocks in a launch."""
MOST = 16
"""Launches that fit into `max_seconds`, at 3.5 s each."""
DEFAULT = MeasureConfig()


# --- the default benchmark --------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """Sources of variation, as standard deviations of logarithms: between launches, between blocks, for both models."""

    name: str
    launch: float = 0.01
    """Variation of the ratio from launch to launch."""
    heavy: bool = False
    """Whether launches follow Student's t with 3 degrees of freedom instead of the normal distribution."""
    slow_launches: float = 0.0
    """Share of processes, for either model, that are slower by 10 % on average (exponential)."""
    slow_models: float = 0.0
    """Share of the model's processes that are slower by 20 %."""
    block: float = 0.01
    """Variation of each block; half of its variance persists beyond one block."""
    slow_blocks: float = 0.0
    """Share of blocks that are slower by 30 % on average (exponential)."""
    wander: float = 0.0
    """Variation of the machine's speed, which affects both models and persists for twenty blocks."""
    drift: float = 0.0
    """How much the machine slows down over the whole benchmark."""


MACHINES: tuple[Machine, ...] = (
    *(Machine(f"launches vary by {sd:.1%}", launch=sd) for sd in (0.005, 0.01, 0.02, 0.03, 0.05)),
    Machine("launches vary by 2 %, heavy tails", launch=0.02, heavy=True),
    Machine("launches vary by 3 %, heavy tails", launch=0.03, heavy=True),
    Machine("one process in 20 is 10 % slower", launch=0.01, slow_launches=0.05),
    Machine("the same, launches vary by 3 %", launch=0.03, slow_launches=0.05),
    Machine("one process of the model in 10 is 20 % slower", launch=0.02, slow_models=0.1),
    Machine("blocks vary by 5 %", block=0.05),
    Machine("one block in 20 is 30 % slower", slow_blocks=0.05),
    Machine("the machine wanders by 5 %", wander=0.05),
    Machine("the machine wanders by 10 %, launches vary by 3 %", wander=0.1, launch=0.03),
    Machine("the machine slows down by 20 %", drift=0.2),
)


@dataclass(frozen=True)
class Protocol:
    """Results of the benchmarks on one machine, with one value per benchmark."""

    ratios: Floats
    covered: NDArray[np.bool_]
    launches: Floats
    unstable: NDArray[np.bool_]
    covered_ms: NDArray[np.bool_]
    medians: list[Floats]
    """The model's median in each launch, per benchmark."""

    @property
    def errors(self) -> Floats:
        """Return the distance of each ratio's logarithm from the truth."""
        return np.abs(np.log(self.ratios / RATIO))

    def trends(self) -> tuple[float, float]:
        """Return how often the milliseconds have a significant trend, and how often a drift remark is added."""
        drifts = [estimate.drift(medians) for medians in self.medians]
        remarked = [drift.is_significant and abs(drift.change) > LARGEST_DRIFT for drift in drifts]
        return float(np.mean([drift.is_significant for drift in drifts])), float(np.mean(remarked))


def measured(machine: Machine, rng: np.random.Generator, *, repeats: int, most: int = MOST) -> Protocol:
    """Return the results of `repeats` default benchmarks if at most `most` launches fit into the time."""
    model, baseline = _blocks(machine, rng, repeats, most)
    pairs = model / np.sqrt(baseline[..., :-1] * baseline[..., 1:])
    of_launch, medians = np.median(pairs, axis=2), np.median(model, axis=2)
    rows = [_one(*each, most=most) for each in zip(pairs, of_launch, medians, strict=True)]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    launches = columns[2].astype(int)
    return Protocol(*columns, medians=[each[:n] for each, n in zip(medians, launches, strict=True)])


def _one(pairs: Floats, of_launch: Floats, medians: Floats, *, most: int) -> tuple[float | bool, ...]:
    first, confidence, target = DEFAULT.launches, DEFAULT.confidence, DEFAULT.target_interval
    n = min(estimate.needed_launches(of_launch[:first], confidence=confidence, target=target), most)
    ratio = estimate.launch_interval(float(np.median(pairs[:n])), of_launch[:n], confidence=confidence, first=first)
    median = float(np.median(medians[:n]))
    latency = estimate.launch_interval(median, medians[:n], confidence=confidence, first=first)
    return (
        ratio.value,
        ratio.low <= RATIO <= ratio.high,
        float(n),
        ratio.relative_half_width > target,
        latency.low <= RATIO <= latency.high,
    )


def _blocks(machine: Machine, rng: np.random.Generator, repeats: int, most: int) -> tuple[Floats, Floats]:
    """Return the block medians of the model (repeats, launches, pairs) and the baseline, with one more per launch."""
    shape = (repeats, most, 2 * PAIRS + 1)
    logs = machine.block * (_remembered(rng, shape, 0.5) + rng.standard_normal(shape)) / np.sqrt(2)
    logs += rng.exponential(0.3, shape) * (rng.random(shape) < machine.slow_blocks)
    everything = (repeats, most * shape[2])
    logs += machine.wander * _remembered(rng, everything, 0.95).reshape(shape)
    logs += machine.drift * np.linspace(0, 1, everything[1]).reshape(shape[1:])
    processes = (repeats, most, 2)
    luck = rng.standard_t(3, processes) / np.sqrt(3) if machine.heavy else rng.standard_normal(processes)
    luck = machine.launch / np.sqrt(2) * luck
    luck += rng.exponential(0.1, processes) * (rng.random(processes) < machine.slow_launches)
    luck[..., 1] += np.log(1.2) * (rng.random(processes[:2]) < machine.slow_models)
    times = np.exp(logs)
    return RATIO * times[..., 1::2] * np.exp(luck[..., 1:]), times[..., ::2] * np.exp(luck[..., :1])


def _remembered(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Floats:
    """Return first-order autoregressions of variance 1 along the last axis."""
    steps = rng.standard_normal(shape)
    steps[..., 1:] *= np.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], steps, axis=-1))


# --- intervals over chips ---------------------------------------------------------------------


@dataclass(frozen=True)
class Chips:
    """Distribution and mean of a figure over `chips` chips with 1 to 6 configurations each."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int]], Floats]
    mean: float
    bounds: tuple[float, float] = ANY_NUMBER
    least: float = 0.92
    """Minimum coverage of 95 % intervals over 5 to 15 chips."""


CHIPS: tuple[Chips, ...] = (
    Chips("correlations near 1: Beta(8, 1)", lambda rng, shape: rng.beta(8, 1, shape), 8 / 9, SHARE),
    Chips("shares: Beta(2, 6)", lambda rng, shape: rng.beta(2, 6, shape), 1 / 4, SHARE),
    Chips("normal", lambda rng, shape: rng.standard_normal(shape), 0.0),
    Chips("uniform", lambda rng, shape: rng.random(shape), 0.5),
    Chips("skewed errors: exponential", lambda rng, shape: rng.exponential(1.0, shape), 1.0, least=0.91),
)
NUMBERS_OF_CHIPS = (5, 8, 15)


def chip_coverage(figure: Chips, n_chips: int, rng: np.random.Generator, *, repeats: int, largest: int = 6) -> float:
    """Return the share of intervals that contain the mean; chips have 1 to `largest` configurations."""
    rounds = 20
    covered = 0
    for _ in range(rounds):
        chips = np.repeat(np.arange(n_chips), rng.integers(1, largest + 1, n_chips))
        own = figure.draw(rng, (n_chips, max(repeats // rounds, 1)))
        means = ClusterMeans.of(own[chips], chips)
        found = means.intervals(rng=rng, resamples=1000, bounds=figure.bounds)
        covered += sum(_holds(interval, figure.mean) for interval in found)
    return covered / rounds / own.shape[1]


def pair_coverage(n_chips: int, rng: np.random.Generator, *, repeats: int) -> float:
    """Return the share of intervals over chip pairs that contain the mean; each chip lowers all of its pairs."""
    chips = np.repeat(np.arange(n_chips), rng.integers(1, 4, n_chips))
    matrices = []
    for _ in range(repeats):
        own, noise = 0.05 * rng.gamma(2.0, 0.5, n_chips), 0.02 * rng.standard_normal((n_chips, n_chips))
        matrices.append((1 - own[:, None] - own[None, :] + (noise + noise.T) / 2)[np.ix_(chips, chips)])
    apart = chips[:, None] != chips[None, :]
    found = pair_mean_interval(matrices, chips, chips, apart=apart, rng=rng, resamples=1000)
    return float(np.mean([_holds(interval, 0.9) for interval in found]))


def _holds(interval: ChipInterval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


# --- FRM and the gate -------------------------------------------------------------------------

LOOKS = 4


def frm_at(launches: Floats, memory: Floats, *, confidence: float) -> Interval:
    """Return the FRM of launches with the given latency ratios and peaks (of model and baseline); FLOPs are equal."""
    latency = estimate.launch_interval(float(np.median(launches)), launches, confidence=confidence)
    return frm_interval(latency, flops_ratio=1.0, memory_ratio=memory_ratio(*memory, confidence=confidence))


def _launches_and_peaks(rng: np.random.Generator, n: int, latency_sd: float, memory_sd: float) -> tuple[Floats, Floats]:
    return np.exp(latency_sd * rng.standard_normal(n)), 100 * np.exp(memory_sd * rng.standard_normal((2, n)))


def frm_coverage(latency_sd: float, memory_sd: float, rng: np.random.Generator, *, repeats: int) -> float:
    """Return the share of FRM intervals over five launches that contain the truth."""
    found = (frm_at(*_launches_and_peaks(rng, 5, latency_sd, memory_sd), confidence=0.95) for _ in range(repeats))
    return float(np.mean([each.low <= 1 <= each.high for each in found]))


def gate_verdicts(
    truth: float, rng: np.random.Generator, *, repeats: int, latency_sd: float = 0.02, memory_sd: float = 0.024
) -> dict[Verdict, float]:
    """Return how often gates with a limit of 1 give each verdict for an FRM of `truth`, in up to four rounds."""
    verdicts = [_verdict(truth, rng, latency_sd, memory_sd) for _ in range(repeats)]
    return {verdict: verdicts.count(verdict) / repeats for verdict in Verdict}


def _verdict(truth: float, rng: np.random.Generator, latency_sd: float, memory_sd: float) -> Verdict:
    launches, peaks = _launches_and_peaks(rng, 5 * LOOKS, latency_sd, memory_sd)
    for look in range(1, LOOKS + 1):
        found = frm_at(launches[: 5 * look], peaks[:, : 5 * look], confidence=1 - 0.05 / LOOKS).scaled(truth)
        verdict = Check(name="FRM", limit=1.0, found=found).verdict
        if verdict is not Verdict.UNDECIDED:
            break
    return verdict


# --- tests ------------------------------------------------------------------------------------


def false_alarms(rng: np.random.Generator, *, repeats: int, n: int = 8) -> dict[str, float]:
    """Return how often tests at 5 % find a difference that does not exist, in pairs and with ties."""
    found = {"Mann-Whitney, ties": 0, "signed ranks, paired chips": 0, "signed ranks, ties": 0}
    for _ in range(repeats):
        chip = rng.standard_normal(n)
        a, b = (chip + 0.1 * rng.standard_normal(n) for _ in range(2))
        found["signed ranks, paired chips"] += signed_ranks(a, b).p < 0.05
        whole = rng.integers(0, 5, (2, n)).astype(float)
        found["Mann-Whitney, ties"] += mann_whitney(*whole).p < 0.05
        found["signed ranks, ties"] += signed_ranks(*whole).p < 0.05
    return {name: count / repeats for name, count in found.items()}


def power_of_pairs(rng: np.random.Generator, *, repeats: int, n: int = 8) -> tuple[float, float]:
    """Return how often a difference of 20 % is found on chips that differ by 100 %, with paired and unpaired tests."""
    by_pairs = unpaired = 0
    for _ in range(repeats):
        chip = rng.standard_normal(n)
        a, b = chip + 0.2 + 0.05 * rng.standard_normal(n), chip + 0.05 * rng.standard_normal(n)
        by_pairs += signed_ranks(a, b).p < 0.05
        unpaired += mann_whitney(a, b).p < 0.05
    return by_pairs / repeats, unpaired / repeats


# --- tables -----------------------------------------------------------------------------------


def benchmark_table(repeats: int) -> tuple[list[str], list[str]]:
    """Return the table of the default benchmark and the claims that fail."""
    lines = [
        "| machine | ratio | milliseconds | launches | `frm.unstable` | ratio, cut |",
        "|---|---|---|---|---|---|",
    ]
    missed = []
    for place, machine in enumerate(MACHINES):
        whole, cut = (measured(machine, np.random.default_rng(place), repeats=repeats, most=most) for most in (MOST, 7))
        shares = [float(np.mean(values)) for values in (whole.covered, whole.covered_ms, whole.unstable, cut.covered)]
        shared_state = machine.wander or machine.drift
        milliseconds = "–" if shared_state else f"{shares[1]:.3f}"
        cells = (
            f"{shares[0]:.3f}",
            milliseconds,
            f"{whole.launches.mean():.1f}",
            f"{shares[2]:.0%}",
            f"{shares[3]:.3f}",
        )
        lines.append(f"| {machine.name} | {' | '.join(cells)} |")
        for what, share in ((machine.name, shares[0]), (f"{machine.name}, cut", shares[3])):
            if not 0.93 <= share <= 0.975:
                missed.append(f"{what}: {share:.3f}")
    return lines, missed


def flags(repeats: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the errors of benchmarks on all machines together, and which of them are flagged."""
    found = [measured(machine, np.random.default_rng(100 + k), repeats=repeats) for k, machine in enumerate(MACHINES)]
    return np.concatenate([one.errors for one in found]), np.concatenate([one.unstable for one in found])


STEADY = tuple(
    Machine(f"launches {launch:.0%}, wander {wander:.1%}", launch=launch, wander=wander)
    for launch in (0.0, 0.02, 0.03)
    for wander in (0.005, 0.02)
)
"""Machines without a drift: changes of their speed die out within twenty blocks."""


def drift_rates(repeats: int) -> dict[str, tuple[float, float]]:
    """Return how often steady machines show a significant trend, and how often a drift remark is added."""
    rates = {}
    for place, machine in enumerate(STEADY):
        found = measured(replace(machine, block=0.02), np.random.default_rng(200 + place), repeats=repeats)
        rates[machine.name] = found.trends()
    return rates


def chip_table(repeats: int) -> tuple[list[str], list[str]]:
    """Return the table of intervals over chips and the claims that fail."""
    lines = ["| figure | 5 chips | 8 chips | 15 chips |", "|---|---|---|---|"]
    missed = []
    for place, figure in enumerate(CHIPS):
        rng = np.random.default_rng(300 + place)
        shares = [chip_coverage(figure, n, rng, repeats=repeats) for n in NUMBERS_OF_CHIPS]
        lines.append(_row(figure.name, shares))
        missed += [f"{figure.name}: {share:.3f}" for share in shares if share < figure.least]
    shares = [pair_coverage(n, np.random.default_rng(400 + n), repeats=repeats) for n in NUMBERS_OF_CHIPS]
    lines.append(_row("mean over pairs of chips", shares))
    return lines, [*missed, *(f"pairs: {share:.3f}" for share in shares if share < 0.92)]


def gate_table(repeats: int) -> list[str]:
    """Return the table of a gate's verdicts."""
    lines = ["| true FRM over its limit | pass | fail | undecided |", "|---|---|---|---|"]
    for truth in (0.95, 0.98, 1.0, 1.02, 1.05):
        shares = gate_verdicts(truth, np.random.default_rng(500), repeats=repeats)
        lines.append(_row(f"{truth:g}", [shares[v] for v in (Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED)]))
    return lines


def _row(name: str, shares: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |"


def main() -> int:
    """Print every table; with `--check`, exit with 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--repeats", type=int, default=4000)
    add_option(parser)
    asked = parser.parse_args()
    benchmarks, missed = benchmark_table(asked.repeats)
    chips, also_missed = chip_table(asked.repeats)
    errors, flagged = flags(asked.repeats // 4)
    rng = np.random.default_rng(600)
    sections = {
        "The default benchmark": benchmarks,
        "Over chips": chips,
        "FRM of five launches": [
            f"latency {a:.1%}, memory {b:.1%}: {frm_coverage(a, b, rng, repeats=asked.repeats):.3f}"
            for a, b in ((0.02, 0.0005), (0.02, 0.007), (0.01, 0.024), (0.005, 0.024))
        ],
        "The gate": gate_table(asked.repeats // 2),
        "Flags": [
            f"{flagged.mean():.1%} of benchmarks are flagged; 95th percentile of the ratio's error: "
            f"flagged {np.quantile(errors[flagged], 0.95):.2%}, others {np.quantile(errors[~flagged], 0.95):.2%}",
            *(f"{name}: trend {a:.3f}, drift {b:.3f}" for name, (a, b) in drift_rates(asked.repeats // 4).items()),
        ],
        "Tests at 5 %": [
            *(f"{name}: {share:.3f}" for name, share in false_alarms(rng, repeats=asked.repeats).items()),
            "a difference of 20 %: by pairs {:.3f}, unpaired {:.3f}".format(*power_of_pairs(rng, repeats=1000)),
        ],
    }
    for heading, lines in sections.items():
        print(f"\n### {heading}", *lines, sep="\n")
    missed += also_missed
    print("\nmissed: " + ("; ".join(missed) or "none"))
    return int(bool(asked.check and missed))


if __name__ == "__main__":
    sys.exit(recorded(main, __file__, markdown=True))
