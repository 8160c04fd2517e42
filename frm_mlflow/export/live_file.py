"""A module of the calling process that cannot be exported: pickled whole and run by eager torch in our workers.

Only `log_frm` writes such a file, to a separate folder, and never for a model that another user logged.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn

from frm_mlflow.errors import ExportError
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.subject import Subject
from frm_mlflow.export.support import exported_as
from frm_mlflow.worker.runtimes import RUNTIMES
from frm_mlflow.zoo.build import BuiltModel
from frm_mlflow.zoo.call import Call

FILE_NAME = "module.pkl"
LIVE_RUNTIMES = tuple(name for name in RUNTIMES if exported_as(name) == "torch")


def save(module: nn.Module, call: Call, path: Path) -> None:
    """Pickle a module and one example call on the CPU; classes defined in a script are pickled by value.

    Raises
    ------
    ExportError
        If it cannot be pickled.
    """
    try:
        content = cloudpickle.dumps({"module": module, "args": call.args, "kwargs": dict(call.kwargs)})
    except Exception as error:  # pickling calls methods of the user's objects
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"{type(module).__name__} can neither be exported nor pickled: {reason}") from error
    path.write_bytes(content)


def prepare(request: ExportRequest) -> Subject:
    """Load the module and run the reference on its example call.

    Raises
    ------
    ExportError
        For a runtime that does not run modules.
    """
    from frm_mlflow.export.pack import subject_of

    if request.runtime not in LIVE_RUNTIMES:
        raise ExportError(f"a live module runs in {' or '.join(LIVE_RUNTIMES)} only, not in {request.runtime}")
    path = Path(str(request.model.path))
    content: dict[str, Any] = cloudpickle.loads(path.read_bytes())
    module = content["module"].eval()
    built = BuiltModel(request.model.name, module, None, (), "own")
    subject = subject_of(built, Call(content["args"], content["kwargs"]), request)
    return replace(subject, pickled=path)


def place(path: Path, directory: Path) -> Path:
    """Copy the pickle to the place from which a worker loads it."""
    return Path(shutil.copyfile(path, directory / FILE_NAME))


def on_cpu(value: Any) -> Any:
    """Return a call's arguments with their tensors on the CPU."""
    return torch.utils._pytree.tree_map(lambda leaf: leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf, value)
