"""A phone behind the fake `adb`: the tools' output format as documented (not recorded on a phone), test figures."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frm_mlflow.worker.store import sha256_of

DATA = Path(__file__).parents[1] / "data"
ONE_PHONE = (
    "List of devices attached\nR5CW20ABCDE            device usb:1-4 product:dm1qxxx model:SM_S911B transport_id:3\n\n"
)
GOVERNORS = "grep -H . /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
OFFLINE = [1, "", "error: device offline\n"]


def text(name: str) -> str:
    return (DATA / "adb" / f"{name}.txt").read_text()


def benchmark_model(median_us: float, *, memory_mb: float = 28.3125) -> str:
    """Return a log in the tool's format with this median."""
    printed = (DATA / "benchmark_model" / "mobilenet_v2.txt").read_text()
    return printed.replace("median=12931", f"median={median_us:g}").replace("overall=28.3125", f"overall={memory_mb}")


def perf_test(median_s: float) -> str:
    """Return a log in onnxruntime_perf_test's format with this median."""
    printed = (DATA / "onnxruntime_perf_test" / "mobilenet_v2.txt").read_text()
    return printed.replace("P50 Latency: 0.00804512 s", f"P50 Latency: {median_s:g} s")


@dataclass(frozen=True)
class FakePhone:
    """The folder from which the fake `adb` replays."""

    folder: Path

    @classmethod
    def plugged_in(cls, folder: Path, **scenario: Any) -> FakePhone:
        """Put the fake `adb` into `folder/bin`, with a phone behind it."""
        (folder / "phone" / "data" / "local" / "tmp").mkdir(parents=True, exist_ok=True)
        (folder / "bin").mkdir()
        adb = folder / "bin" / "adb"
        adb.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {Path(__file__).with_name("fake_adb.py")} "$@"\n')
        adb.chmod(0o755)
        phone = cls(folder)
        phone.replay(**scenario)
        return phone

    def replay(self, *, properties: Mapping[str, str] | None = None, **scenario: Any) -> None:
        """Replay this from now on; `properties` changes the output of `getprop`."""
        getprop = text("getprop_s23")
        for name, value in (properties or {}).items():
            kept = [line for line in getprop.splitlines() if not line.startswith(f"[{name}]")]
            getprop = "\n".join([*kept, f"[{name}]: [{value}]", ""])
        answers = {
            "getprop": getprop,
            "cat /proc/meminfo": "MemTotal:        7413032 kB\nMemFree:          203812 kB\n",
            "cat /sys/devices/system/cpu/present": "0-7\n",
            "dumpsys battery": text("dumpsys_battery"),
            "dumpsys thermalservice": text("dumpsys_thermalservice"),
            "dumpsys power": text("dumpsys_power"),
            "settings get global airplane_mode_on": "1\n",
            GOVERNORS: text("governors"),
        }
        given = {"devices": ONE_PHONE, "shots": {}} | scenario
        given["answers"] = answers | scenario.get("answers", {})
        self._write("scenario.json", json.dumps(given))

    def connect(self, state: str) -> None:
        """Put the phone into this state from now on: `device`, `offline`, `unauthorized` or `gone`."""
        self._write("state", state)

    def _write(self, name: str, content: str) -> None:
        """Write a file atomically, so that a running `adb` never reads half of it."""
        partial = self.folder / f".{name}"
        partial.write_text(content)
        partial.replace(self.folder / name)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which a process finds this phone."""
        return {"FAKE_ADB": str(self.folder), "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    @property
    def files(self) -> list[str]:
        """Names of the files that were copied to the phone."""
        place = self.folder / "phone" / "data" / "local" / "tmp" / "frm"
        return sorted(path.name for path in place.glob("*")) + sorted(path.name for path in place.glob(".*"))

    def calls(self) -> list[list[str]]:
        """Return the commands given to adb, without `-s SERIAL`."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [words[2:] if words[0] == "-s" else words for words in map(json.loads, lines)]

    def shots(self) -> list[str]:
        """Return the model's file of each shot, in order."""
        lines = [words[1] for words in self.calls() if words[0] == "shell" and words[1].startswith("timeout")]
        words = [next(w for w in line.replace("=", " ").split() if "/model-" in w) for line in lines]
        return [word.rsplit("/", 1)[1].rstrip(";") for word in words]


def named_on_phone(model: Path) -> str:
    """Return the name of a model's file on the phone."""
    return f"model-{sha256_of(model)[:16]}{model.suffix}"


def program(folder: Path, name: str = "benchmark_model") -> Path:
    """Return a file that stands in for the tool's binary."""
    path = folder / name
    path.write_bytes(b"\x7fELF for arm64")
    shutil.copymode(sys.executable, path)
    return path


def interleaved(model: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Return each model shot divided by the geometric mean of the baseline shots before and after it, by hand."""
    return [m / (before * after) ** 0.5 for m, before, after in zip(model, baseline, baseline[1:], strict=False)]
