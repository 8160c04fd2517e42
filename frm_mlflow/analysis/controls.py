"""Controls: what single metrics, and FRM without its measurements, achieve on their own.

FRM contains the same FLOPs on every device, so part of its stability is not a finding at all.
The shuffled control keeps that part and destroys the rest: on every configuration the latency
ratios and the memory ratios are each randomly reassigned among the models that have them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers
from frm_mlflow.analysis.frm import frm_of
from frm_mlflow.analysis.matrix import ResultMatrix

FRM, LATENCY, MEMORY, FLOPS, PARAMS, ACCURACY = "frm", "latency", "memory", "flops", "params", "accuracy"
SHUFFLED = "frm_shuffled"

PREDICTORS: tuple[str, ...] = (FRM, LATENCY, MEMORY, FLOPS, PARAMS)
"""The paper's metric and the four single-metric controls; `frm_shuffled` is added when it is computed."""


def metrics(matrix: ResultMatrix) -> dict[str, Floats]:
    """Return each predictor's values, (C, M), NaN for models that were not measured.

    If a configuration has any FRM, all use only its cells with FRM, so no metric is scored on more models than another.
    """
    frm = matrix.frm_order()
    values = {
        FRM: frm,
        LATENCY: matrix.latency_ms,
        MEMORY: matrix.memory_mib,
        FLOPS: matrix.gmacs,
        PARAMS: matrix.params_m,
    }
    shared = np.isfinite(frm) | ~np.isfinite(frm).any(axis=1, keepdims=True)
    return {name: np.where(shared & matrix.measured, cells, np.nan) for name, cells in values.items()}


def shuffled_frm(
    matrix: ResultMatrix,
    components: tuple[str, ...] = ("latency", "memory", "energy"),
    *,
    repeats: int,
    rng: np.random.Generator,
) -> Iterator[Floats]:
    """Yield FRM matrices whose `components` are shuffled across models, separately per configuration and component."""
    ratios = matrix.rankable_ratios()
    finite = np.isfinite(frm_of(ratios, components=matrix.components))
    parts = {name: np.where(finite, ratios[name], np.nan) for name in matrix.components}
    shuffled_parts = [name for name in matrix.components if name in components]
    order = matrix.draw_order()
    for _ in range(repeats):
        mixed = {name: shuffled(parts[name], rng, order) for name in shuffled_parts}
        yield frm_of(parts | mixed, components=matrix.components)


def shuffled(values: Floats, rng: np.random.Generator, order: tuple[Integers, Integers] | None = None) -> Floats:
    """Return `values` with the known cells of each row randomly permuted; missing cells stay in place.

    `order` gives the order of rows and columns for the draws, so that names do not affect the result.
    """
    rows, columns = order or tuple(np.arange(n) for n in values.shape)
    permuted = np.empty_like(values)
    permuted[np.ix_(rows, columns)] = _permuted(values[np.ix_(rows, columns)], rng)
    return permuted


def _permuted(values: Floats, rng: np.random.Generator) -> Floats:
    missing = np.isnan(values)
    order = np.argsort(np.where(missing, np.inf, rng.random(values.shape)), axis=1)
    places = np.argsort(missing, axis=1, kind="stable")
    permuted = np.empty_like(values)
    np.put_along_axis(permuted, places, np.take_along_axis(values, order, axis=1), axis=1)
    return permuted


def control_sample(matrix: ResultMatrix, rng: np.random.Generator, *, per_side: int = 120) -> Integers:
    """Return the configurations for repeated controls: all of each side, or a random `per_side` of a larger one."""
    by_content, _ = matrix.draw_order()
    rows_by_side = [by_content[matrix.sides[by_content] == side] for side in matrix.side_names]
    drawn = [rows if rows.size <= per_side else rng.choice(rows, per_side, replace=False) for rows in rows_by_side]
    return np.sort(np.concatenate(drawn))
