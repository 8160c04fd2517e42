"""Handles one request per line: the worker's side of the protocol."""

from __future__ import annotations

import gc
import json
import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from . import PROTOCOL_VERSION
from .accelerator import cards, cuda_card, device_used_mib, gpu_conditions, process_device_mib, show_only
from .cuda_setup import both_wheels, card_problem, choose_tf32, driver_problem, majors_problem
from .energy import OpenMeter, energy_meter, measure_energy
from .identity import agreement, numbered_arrays
from .manifest import REFERENCE_NAME, ExportedModel
from .memory import memory_meter, settle_memory
from .runtimes import RUNTIMES
from .sessions import open_session
from .sessions.base import TF32, Session, SessionError, Target
from .timing import Clock, run_block, warm_up

ALLOCATOR, NVML_PROCESS, NVML_DEVICE = "allocator_over_base", "nvml_process_over_base", "nvml_device_over_base"
"""Source of `device_peak_mib`: the runtime's allocator, this process, or the whole GPU while other workers are idle."""

Reply = dict[str, Any]
Open = Callable[[str, Target], Session]


def serve(worker: Worker, *, requests: TextIO, replies: TextIO) -> None:
    """Handle requests until `close` or the end of `requests`; an error is sent as a reply and does not end the loop."""
    for line in requests:
        reply, is_last = worker.answer(line)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if is_last:
            return


class Worker:
    """One process with one session; see `docs/architecture.md` for requests and replies."""

    def __init__(
        self,
        *,
        open_session: Open = open_session,
        open_meter: OpenMeter = energy_meter,
        clock: Clock = time.perf_counter_ns,
        cpu_clock: Clock = time.process_time_ns,
    ) -> None:
        self._open = open_session
        self._open_meter = open_meter
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._meter = memory_meter()
        self._session: Session | None = None
        self._target = Target()
        self._directory = Path()
        self._base_mib = 0.0
        self._loaded_mib = 0.0
        self._device_base: dict[str, float] = {}
        self._device_peak: dict[str, float] = {}
        self._commands: dict[str, Callable[..., Reply]] = {
            "hello": self.hello,
            "preflight": self.preflight,
            "load": self.load,
            "verify": self.verify,
            "predict": self.predict,
            "warm_up": self.warm_up,
            "run_block": self.run_block,
            "memory": self.memory,
            "energy": self.energy,
            "close": self.close,
        }

    def answer(self, line: str) -> tuple[Reply, bool]:
        """Return the reply to one request line, and whether it was the last."""
        try:
            request = json.loads(line)
            command = request.pop("cmd")
            reply = self._command(command)(**request)
        except SessionError as error:
            return _failure(str(error), error.kind, package=error.package), False
        except MemoryError as error:
            return _failure(f"out of memory: {error}", "memory"), False
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            traceback.print_exc(file=sys.stderr)
            return _failure(f"{type(error).__name__}: {error}", "bad_request"), False
        except Exception as error:  # runtimes raise types of their own, and the worker must reply
            traceback.print_exc(file=sys.stderr)
            return _failure(f"{type(error).__name__}: {error}", "runtime"), False
        return {"ok": True} | reply, command == "close"

    def hello(self) -> Reply:
        """Return the identity of this worker."""
        return {
            "protocol": PROTOCOL_VERSION,
            "python": platform.python_version(),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "cwd": str(Path.cwd()),
            "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        }

    def preflight(self, *, runtime: str, selector: str = "", **fields: Any) -> Reply:
        """Check that the runtime can run this precision on this device: check the wheels, run a tiny network."""
        target = _aimed(selector, **fields)
        if target.kind == "cuda":
            _refuse_setup(runtime, target)
        session = self._open(runtime, target)
        session.start()
        return {"versions": session.versions(), **_where(session, target, target.precision)}

    def load(self, *, exported_model: str, runtime: str, selector: str = "", **fields: Any) -> Reply:
        """Warm up the runtime, record the base memory, load the model and its inputs, reset the peak."""
        directory = Path(exported_model)
        manifest = ExportedModel.read(directory)
        fields["precision"] = fields.get("precision") or manifest.precision
        self._target = _aimed(selector, **fields)
        session = self._open(runtime, self._target)
        session.warm(manifest)
        settle_memory()
        self._base_mib = self._meter.now_mib()
        self._device_base, self._device_peak = self._device_memory(session), {}
        started = self._clock()
        session.load(directory, manifest)
        seconds = (self._clock() - started) / 1e9
        self._directory = directory
        session.prepare(numbered_arrays(directory / REFERENCE_NAME, "input_"))
        settle_memory()
        self._loaded_mib = self._meter.now_mib() - self._base_mib
        where = _where(session, self._target, manifest.precision)
        self._session = session
        self._note_device_memory()
        self._reset_peaks()
        return {
            "seconds": seconds,
            "once_seconds": session.once_seconds,
            "versions": session.versions(),
            "facts": session.facts(),
            "base_mib": self._base_mib,
            "loaded_mib": self._loaded_mib,
            **where,
        }

    def verify(self) -> Reply:
        """Run the model on the reference's inputs and compare its outputs with the reference's."""
        session = self._loaded()
        session.run()
        session.synchronise()
        result = agreement(session.outputs(), numbered_arrays(self._directory / REFERENCE_NAME, "output_"))
        self._note_device_memory()
        self._reset_peaks()
        return asdict(result)

    def predict(self, *, inputs: str, outputs: str) -> Reply:
        """Run each batch of an `.npz` (`input_K`: calls x batch x ...) and write `output_K` to another.

        Afterwards the reference's inputs are restored.
        """
        session = self._loaded()
        calls = list(zip(*numbered_arrays(Path(inputs), "input_"), strict=True))
        results = []
        for call in calls:
            session.prepare(call)
            session.run()
            session.synchronise()
            results.append([array.copy() for array in session.outputs()])
        stacked = {f"output_{k}": np.stack(part) for k, part in enumerate(zip(*results, strict=True))}
        session.prepare(numbered_arrays(self._directory / REFERENCE_NAME, "input_"))
        np.savez(outputs, **stacked)  # type: ignore[arg-type]
        return {"calls": len(calls)}

    def warm_up(self, *, runs: int, seconds: float, agreement: float, max_seconds: float) -> Reply:
        """Warm up the model."""
        result = warm_up(
            self._loaded(),
            runs=runs,
            seconds=seconds,
            agreement=agreement,
            max_seconds=max_seconds,
            clock=self._clock,
        )
        self._note_device_memory()
        gc.freeze()  # existing objects stay alive, so the collector need not scan them before every block
        return asdict(result)

    def run_block(self, *, runs: int, settle: int = 0) -> Reply:
        """Time one block of calls."""
        session = self._loaded()
        observe = (lambda: gpu_conditions(self._target.index)) if self._target.kind == "cuda" else None
        block = run_block(
            session, runs=runs, settle=settle, clock=self._clock, cpu_clock=self._cpu_clock, observe=observe
        )
        return asdict(block)

    def memory(self) -> Reply:
        """Return peaks since loading (or the last `verify`) above the base; on a GPU above the warm runtime's usage."""
        session = self._loaded()
        is_cuda = self._target.kind == "cuda"
        over_base, definition = self._device_over_base(session)
        return {
            "peak_mib": self._meter.peak_mib() - self._base_mib,
            "base_mib": self._base_mib,
            "loaded_mib": self._loaded_mib,
            "definition": self._meter.definition,
            "device_mib": process_device_mib(self._target.index) if is_cuda else None,
            "device_peak_mib": over_base,
            "device_base_mib": self._device_base.get(definition),
            "device_definition": definition,
        }

    def energy(self, *, seconds: float) -> Reply:
        """Measure the energy of calls over a window; `meter` is null if there is no meter."""
        session = self._loaded()
        try:
            meter = self._open_meter(self._target.kind, self._target.index)
            used = None if meter is None else measure_energy(session, meter, seconds=seconds, clock=self._clock)
        except Exception as error:  # a meter's library may raise anything, and the timed runs are complete and valid
            traceback.print_exc(file=sys.stderr)
            return {"meter": None, "problem": f"{type(error).__name__}: {error}"}
        return {"meter": None} if used is None else asdict(used)

    def close(self) -> Reply:
        """Close the session; `serve` ends after this reply."""
        self._session = None
        return {}

    def _command(self, name: str) -> Callable[..., Reply]:
        if name not in self._commands:
            raise SessionError(f"unknown command '{name}'; valid: {', '.join(self._commands)}", kind="bad_request")
        return self._commands[name]

    def _device_memory(self, session: Session) -> dict[str, float]:
        """Return the GPU memory in use in MiB, by each definition that works here."""
        if self._target.kind != "cuda":
            return {}
        readings = {
            ALLOCATOR: session.device_now_mib(),
            NVML_PROCESS: process_device_mib(self._target.index),
            NVML_DEVICE: device_used_mib(self._target.index),
        }
        return {name: value for name, value in readings.items() if value is not None}

    def _note_device_memory(self) -> None:
        """Record the highest readings of the phases in which only this worker uses the GPU."""
        for name, value in self._device_memory(self._loaded()).items():
            self._device_peak[name] = max(value, self._device_peak.get(name, 0.0))

    def _device_over_base(self, session: Session) -> tuple[float | None, str]:
        """Return the peak above the base by the best definition that works here, and its name."""
        peaks = dict(self._device_peak)
        allocated = session.device_peak_mib()
        if allocated is not None:
            peaks[ALLOCATOR] = allocated
        for name in (ALLOCATOR, NVML_PROCESS, NVML_DEVICE):
            if name in peaks and name in self._device_base:
                return peaks[name] - self._device_base[name], name
        return None, ""

    def _reset_peaks(self) -> None:
        self._meter.reset_peak()
        self._loaded().reset_device_peak()

    def _loaded(self) -> Session:
        if self._session is None:
            raise SessionError("no model is loaded: send `load` first", kind="bad_request")
        return self._session


def _aimed(
    selector: str,
    *,
    device: str = "cpu",
    index: int = 0,
    threads: int = 1,
    options: Mapping[str, Any] | None = None,
    precision: str = "",
) -> Target:
    """Return a request's target; restrict CUDA to its GPU and TF32 to requests for it, before a runtime starts."""
    target = Target(device, index, threads, options or {}, precision)
    if target.kind == "cuda":
        show_only(selector)
        choose_tf32(allowed=target.allows_tf32)
    return target


def _where(session: Session, target: Target, precision: str) -> Reply:
    """Return the device and the precision of a session, as reported by the runtime and CUDA."""
    uses_tf32 = session.uses_tf32()
    ran = TF32 if precision in ("fp32", TF32) and uses_tf32 else "fp32" if precision == TF32 else precision
    return {
        "placement": asdict(session.placement()),
        "precision": ran,
        "card": cuda_card(target.index) if target.kind == "cuda" else None,
    }


def _refuse_setup(runtime: str, target: Target) -> None:
    """Raise if the wheels, the driver and the GPU are incompatible."""
    is_onnx = runtime in RUNTIMES and "onnxruntime" in RUNTIMES[runtime].packages
    package = "onnxruntime" if is_onnx else "torch"
    usable = cards().usable
    of_card = usable[target.index] if target.index < len(usable) else None
    problems = [both_wheels(), majors_problem()] if is_onnx else []
    if of_card is not None:
        problems += [card_problem(of_card, target.precision), driver_problem(package, of_card)]
    for problem in filter(None, problems):
        raise SessionError(problem, kind="provider")


def _failure(message: str, kind: str, **more: str) -> Reply:
    return {"ok": False, "error": message, "kind": kind} | {k: v for k, v in more.items() if v}
