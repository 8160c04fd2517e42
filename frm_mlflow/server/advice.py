"""Which model for my device: passes the page's question to the recommender and returns its answer as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from frm_mlflow.devices import catalogue
from frm_mlflow.errors import ConfigError
from frm_mlflow.near import did_you_mean
from frm_mlflow.prediction import Constraints, Prediction, PredictionOptions, Target, predict, recommend
from frm_mlflow.report.board import Json, number
from frm_mlflow.report.snapshot import Snapshot
from frm_mlflow.schema import DEVICE
from frm_mlflow.server.choice import Choice
from frm_mlflow.server.once import Once
from frm_mlflow.target import completed

_MOST_MEASURED = 200


class Adviser:
    """Answers from a prediction that is made once for each device, its measurements and version of the data."""

    def __init__(self, *, patience_s: float = 1.0) -> None:
        self._predictions: Once[Prediction] = Once(patience_s=patience_s)

    def answer(self, snapshot: Snapshot, choice: Choice, query: Mapping[str, str]) -> Json | None:
        """Return the recommendation for a query, or None while the prediction is being made.

        Raises
        ------
        ConfigError
            If a limit or a measurement is not a number.
        DataError
            If the benchmarks are not sufficient for an answer; the message explains what would help.
        """
        constraints = constraints_of(query)
        measured = measurements_of(query.get("measured", ""))
        target = target_of(snapshot, choice, query.get("target", ""))

        def compute() -> Prediction:
            rng = np.random.default_rng(0)
            options = PredictionOptions(baseline=choice.baseline)
            return predict(snapshot.rows, target, options, rng, anchors=measured or None)

        key = (snapshot.digest, target, choice.baseline, tuple(measured.items()))
        prediction = self._predictions.get(key, compute)
        if prediction is None:
            return None
        recommendation = recommend(prediction, constraints)
        candidates = recommendation.tables()["candidates"]
        columns = {
            str(name): [number(value) if isinstance(value, float) else value for value in values.tolist()]
            for name, values in candidates.items()
        }
        near = near_device(snapshot, target.device)
        return {"target": asdict(target), "near": near, "sentences": list(recommendation.summary()), "columns": columns}


def near_device(snapshot: Snapshot, device: str) -> str:
    """Return a suggestion of names like that of a device without benchmarks; "" if it has some or none is near."""
    devices = set(snapshot.configurations[DEVICE.column])
    suggestion = "" if device in devices else did_you_mean(device, sorted(devices))
    return f"No benchmark of '{device}': this is a prediction for an unknown device.{suggestion}" if suggestion else ""


def constraints_of(query: Mapping[str, str]) -> Constraints:
    """Return the limits of a query; an empty value means no limit."""
    limits = Constraints(
        max_latency_ms=_limit(query.get("max_latency_ms", ""), "latency"),
        max_memory_mib=_limit(query.get("max_memory_mib", ""), "memory"),
        min_top1=_limit(query.get("min_top1", ""), "top-1"),
    )
    confidence = _limit(query.get("confidence", ""), "confidence")
    return limits if confidence is None else replace(limits, confidence=confidence)


def measurements_of(text: str) -> dict[str, float]:
    """Return the model and its milliseconds from each line `model = ms`.

    >>> measurements_of("resnet50 = 12.5")
    {'resnet50': 12.5}
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > _MOST_MEASURED:
        raise ConfigError(f"measured: at most {_MOST_MEASURED} lines, got {len(lines)}")
    pairs = [line.rpartition("=") for line in lines]
    wrong = [line for line, (model, _, _) in zip(lines, pairs, strict=True) if not model.strip()]
    if wrong:
        raise ConfigError(f"measured: each line must be `model = milliseconds`, got '{wrong[0]}'")
    return {model.strip(): _required(value, model.strip()) for model, _, value in pairs}


def target_of(snapshot: Snapshot, choice: Choice, device: str) -> Target:
    """Return the target device of the question: the chosen configuration's, or another one under the page's filters."""
    table = snapshot.configurations
    if choice.configuration in table.index and device in ("", str(table.loc[choice.configuration, "device"])):
        row = table.loc[choice.configuration]
        words = ("device", "chip", "tier", "runtime", "precision", "compute_unit")
        return Target(**{name: str(row[name]) for name in words})
    names = ("tier", "runtime", "precision")
    target = Target(device=device, **{name: choice.filters.get(name, "") for name in names})
    return completed(target, snapshot.rows) if catalogue.find(device) else target


def _limit(text: str, words: str) -> float | None:
    return _required(text, words) if text.strip() else None


def _required(text: str, words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{words}: '{text.strip()}' is not a number") from None
    if not np.isfinite(value):
        raise ConfigError(f"{words}: '{text.strip()}' is not a finite number")
    return value
