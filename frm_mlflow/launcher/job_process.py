"""`python -m frm_mlflow.launcher.job_process`: one job of a fleet's sweep, in a separate process.

The request arrives as JSON on standard input, so that overrides arrive unchanged. The reply is one line of
JSON on standard output. Anything else printed there is redirected to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hydra import initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from frm_mlflow.config import DeviceConfig, checked
from frm_mlflow.devices.turn import claim_card
from frm_mlflow.errors import FrmError
from frm_mlflow.exits import sentence
from frm_mlflow.launcher.request import Reply, Request
from frm_mlflow.sweep.job import composer, run_job
from frm_mlflow.sweep.parent import SHARED_SWEEP
from frm_mlflow.sweep.plan import key_of
from frm_mlflow.sweep.run import OpenSweep
from frm_mlflow.tracking import server
from frm_mlflow.tracking.fleet_job import join_sweep
from frm_mlflow.tracking.runs import Outcome, Sweep

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 1.0


def measured(request: Request) -> Reply:
    """Run the job's benchmarks under the sweep's parent run."""
    reply = Reply()
    try:
        client = server.connect(request.tracking_uri)
        with join_sweep(client, request.parent_run_id, tags=request.tags) as sweep:
            try:
                _bench(request, sweep)
            finally:
                reply.outcomes = [_plain(outcome) for outcome in sweep.outcomes]
    except (FrmError, HydraException, OmegaConfBaseException) as error:
        reply.error = sentence(error)
    except KeyboardInterrupt:
        reply.error = "interrupted"
    return reply


def _bench(request: Request, sweep: Sweep) -> None:
    with initialize_config_module("frm_mlflow.conf", version_base="1.3", job_name="bench"):
        config = composer(request.search_path)(request.overrides)
        pin_card(config, request.overrides)
        token = SHARED_SWEEP.set(OpenSweep(sweep))
        try:
            run_job(config, overrides=request.overrides, search_path=request.search_path)
        finally:
            SHARED_SWEEP.reset(token)


def pin_card(config: DictConfig, overrides: Sequence[str]) -> None:
    """Restrict this process to one free card of its host, unless `device.index` is set."""
    if any(key_of(word) == "device.index" for word in overrides):
        return
    claimed = claim_card(checked(DeviceConfig, config.device, where="device"))
    if claimed is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = claimed[0].selector


def _plain(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome) | {"kept": str(outcome.kept) if outcome.kept else None}


def end_with_parent(parent: int, *, grace_s: float) -> None:
    """Interrupt this process when `parent` dies, and kill it if it has not ended within `grace_s` seconds."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch, args=(parent, grace_s), daemon=True).start()


def _watch(parent: int, grace_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os._exit(1)


def main(arguments: Sequence[str]) -> int:
    """Read a request, run it and write the reply; the exit code is 0 whenever a reply was written."""
    answer = os.dup(1)
    os.dup2(2, 1)
    request = Request(**json.load(sys.stdin))
    end_with_parent(int(arguments[0]), grace_s=request.grace_s)
    reply = measured(request)
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        out.write(json.dumps(asdict(reply)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
