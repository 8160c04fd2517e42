"""The target device of a prediction: its facts, what it can run, and the command that measures models on it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from frm_mlflow import schema
from frm_mlflow.config.device import PHONE, TOOLS
from frm_mlflow.devices import catalogue
from frm_mlflow.devices.catalogue import DeviceFacts
from frm_mlflow.devices.resolve import known_devices
from frm_mlflow.errors import DataError
from frm_mlflow.export.support import precisions
from frm_mlflow.near import did_you_mean
from frm_mlflow.prediction import Target
from frm_mlflow.worker.runtimes import RUNTIMES, VENDORS

FILLED = {"tier": "tier", "runtime": "target_runtime", "precision": "target_precision", "compute_unit": "compute_unit"}
"""Maps facts about a target to the settings that provide them."""


@dataclass(frozen=True)
class MeasuringCommand:
    """The command that benchmarks models on a target, or the reason why it is not possible."""

    command: str = ""
    remark: str = ""


def completed(target: Target, frame: pd.DataFrame) -> Target:
    """Return the target with missing facts filled in from configurations in `frame` that such a device can have.

    A device that has benchmarks is returned unchanged. Otherwise the most similar devices decide: the same chip,
    the same generation, the same tier. A vendor's runtime or NPU is never assumed for another vendor's chip.

    Raises
    ------
    DataError
        If the device is unknown and has no tier, or if the history has no configuration that it could have.
    """
    missing = [name for name in FILLED if not getattr(target, name)]
    if not missing or (frame[schema.DEVICE.column] == target.device).any():
        return target
    facts = catalogue.find(target.device)
    if facts is None and not target.tier:
        names = [*frame[schema.DEVICE.column].dropna().unique(), *catalogue.catalogue()]
        raise DataError(
            f"'{target.device}' is neither in the history nor in the device catalogue."
            f"{did_you_mean(target.device, names)} For another device give tier=gpu, cpu or edge and what it runs: "
            "target_runtime=, target_precision=, compute_unit="
        )
    rows = _matching(frame, target)
    likely, relation = (rows, f"tier {target.tier}") if facts is None else _relatives(rows, facts)
    if likely.empty:
        raise DataError(_nothing_alike(target, rows, missing))
    values = _commonest(likely, missing)
    filled = ", ".join(f"{FILLED[name]}={value}" for name, value in values.items())
    note = f"Assumed for {target.device}: {filled} (the commonest of {relation} in the history)."
    return replace(target, note=note, **values)


def _matching(frame: pd.DataFrame, target: Target) -> pd.DataFrame:
    """Return the rows that match the user's facts, ignoring the tier if no row has it."""
    rows = frame
    for name in FILLED:
        given = getattr(target, name)
        same = rows[rows[name] == given] if given else rows
        rows = rows if name == "tier" and same.empty else same
    return rows


def _relatives(rows: pd.DataFrame, facts: DeviceFacts) -> tuple[pd.DataFrame, str]:
    """Return the rows of the most similar devices that show what the device can run, and how they are related."""
    possible = rows[
        [_can_have(facts, *cells) for cells in rows[["device", "runtime", "compute_unit"]].itertuples(index=False)]
    ]
    tier = possible[possible["tier"] == facts.tier]
    for column, value in (("chip", facts.chip), ("generation", facts.generation), ("tier", facts.tier)):
        alike = tier[tier[column] == value]
        if not alike.empty:
            return alike, f"{column} {value}"
    return possible, "what any device can run"


def _can_have(facts: DeviceFacts, device: str, runtime: str, unit: str) -> bool:
    """Return whether a device with `facts` can have a configuration that another device has."""
    other = catalogue.find(device)
    if other is not None and other.chip_maker == facts.chip_maker:
        return True
    vendor = next((maker for start, maker in VENDORS.items() if runtime.startswith(start)), "")
    return unit in ("cpu", "") and vendor in ("", facts.chip_maker)


def _commonest(rows: pd.DataFrame, missing: Sequence[str]) -> dict[str, str]:
    values = {}
    for name in missing:
        values[name] = str(rows[name].mode().iloc[0])
        rows = rows[rows[name] == values[name]]
    return values


def _nothing_alike(target: Target, rows: pd.DataFrame, missing: Sequence[str]) -> str:
    pairs = rows[["runtime", "compute_unit"]].drop_duplicates().head(4).itertuples(index=False)
    held = ", ".join(f"{runtime} on {unit or 'an unknown unit'}" for runtime, unit in pairs) or "nothing that matches"
    missing_settings = ", ".join(f"{FILLED[name]}=" for name in missing)
    return (
        f"the history holds no configuration that {target.device} could have ({held}, on other makers' chips): "
        f"give what it runs with {missing_settings} or import benchmarks of a device like it"
    )


def measuring_command(target: Target, models: Sequence[str]) -> MeasuringCommand:
    """Return the command that benchmarks `models` on `target`, if `frm-mlflow bench` can run it there."""
    by_hand = "measure it with the vendor's tool and give the result as anchors={MODEL: MS}"
    facts = catalogue.find(target.device)
    if target.runtime not in RUNTIMES:
        return MeasuringCommand(remark=f"frm-mlflow cannot run {target.runtime} itself: {by_hand}.")
    unit = target.compute_unit or ("gpu" if target.tier == "gpu" else "cpu")
    if target.precision not in precisions(target.runtime, compute_unit=unit):
        return MeasuringCommand(
            remark=f"frm-mlflow cannot run {target.runtime} in {target.precision} on the {unit} itself: {by_hand}."
        )
    words = [f"models=[{','.join(models)}]", f"runtime={target.runtime}", f"precision={target.precision}"]
    if target.device in {config.name for config in known_devices()}:
        remark = f"Run it on the {target.device}, or add device.transport=ssh device.host=USER@ADDRESS."
        return MeasuringCommand(_bench(f"device={target.device}", *words), remark)
    tool = next((tool for tool, runtime in TOOLS.items() if runtime == target.runtime), "")
    if facts is not None and facts.form_factor == "phone" and tool:
        remark = f"Give the {tool} program that was built for the phone with device.binary=FILE."
        return MeasuringCommand(_bench(f"device={PHONE}", f"device.tool={tool}", *words), remark)
    return MeasuringCommand(remark=f"frm-mlflow has no rule to recognise {target.device} by: {by_hand}.")


def _bench(*words: str) -> str:
    return shlex.join(["frm-mlflow", "bench", *words])
