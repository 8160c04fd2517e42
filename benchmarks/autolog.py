"""What autologging adds to training apart from the benchmark itself: `python benchmarks/autolog.py --check`.

A network is trained on digits with and without the watch for an example, in turns; the benchmark
is left out. The median overhead must be below 1 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from sklearn.datasets import load_digits
from torch import nn

from frm_mlflow.integrations.watch import FirstCall

LIMIT = 0.01


def train(*, watched: bool, epochs: int) -> tuple[float, nn.Module]:
    """Return CPU seconds of the training, and the network."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 10))
    optimiser = torch.optim.Adam(model.parameters())
    started = time.process_time()
    watch = FirstCall(model) if watched else None
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimiser.step()
    if watch is not None:
        watch.stop()
    return time.process_time() - started, model


def main() -> int:
    """Print the overhead; exit with 1 under `--check` where it is above the limit or the weights differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(watched=True, epochs=1)
    ratios = []
    for _ in range(options.pairs):
        plain, one = train(watched=False, epochs=options.epochs)
        watched, other = train(watched=True, epochs=options.epochs)
        ratios.append(watched / plain)
    equal = all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    overhead = statistics.median(ratios) - 1
    print(f"overhead {overhead:+.2%} (median of {options.pairs} pairs), same weights: {equal}")
    return 1 if options.check and (overhead > LIMIT or not equal) else 0


if __name__ == "__main__":
    sys.exit(main())
