"""Fingerprint of a user's factory: `python -m frm_mlflow.export.fingerprint` builds and hashes the network.

The hash covers the network (parameters, buffers, its printed form) and the files that were read to build it: modules,
configurations, checkpoints. Editing any of these files therefore gives another hash, however the file was read.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from frm_mlflow.export.cache import sha256
from frm_mlflow.worker.parent import die_with_parent

_LIBRARY = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib")})
_NO_CONTENT = ("/proc", "/sys", "/dev")


class FilesRead:
    """The files that Python opened for reading while it was active."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self._is_active = True
        sys.addaudithook(self._note)  # a hook cannot be removed, only silenced

    def stop(self) -> None:
        """Stop recording."""
        self._is_active = False

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if self._is_active and event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            is_written = isinstance(args[1], str) and any(letter in args[1] for letter in "wax")
            if not is_written:
                self.paths.add(Path(os.fsdecode(args[0])).absolute())


def fingerprint(content: dict[str, Any]) -> str:
    """Return the hash of the network that a model's settings build."""
    import torch

    from frm_mlflow.zoo.recipe import load_factory

    before = set(sys.modules)
    files = FilesRead()
    torch.manual_seed(content["seed"])
    module = load_factory(content["target"])(**content["kwargs"])
    if content["example"] is not None:
        load_factory(content["example"], setting="model.example")()
    files.stop()
    digest = hashlib.sha256()
    for path in sorted(set(_modules(set(sys.modules) - before)) | set(_package(content["target"])) | files.paths):
        _add_file(digest, path)
    digest.update(repr(module).encode())
    if isinstance(module, torch.nn.Module):
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode() + _bytes(value))
    return digest.hexdigest()


def _modules(names: Iterable[str]) -> Iterator[Path]:
    """Yield the files from which modules were loaded."""
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            yield Path(file).absolute()


def _package(target: str) -> Iterator[Path]:
    """Yield every Python file next to the factory's module and in the package that contains it."""
    name = target.partition(":")[0]
    file = getattr(sys.modules[name], "__file__", None)
    if file is not None:
        yield from Path(file).absolute().parent.glob("*.py")
    top = getattr(sys.modules[name.partition(".")[0]], "__path__", ())
    for folder in top:
        yield from Path(folder).absolute().rglob("*.py")


def _add_file(digest: Any, path: Path) -> None:
    if str(path).startswith((*_LIBRARY, *_NO_CONTENT)) and "-packages" not in str(path):
        return
    if path.suffix != ".pyc" and path.is_file():
        digest.update(str(path).encode() + sha256(path).encode())


def _bytes(value: Any) -> bytes:
    import torch

    if isinstance(value, torch.Tensor) and not value.is_quantized:
        flat = value.detach().cpu().contiguous().reshape(-1)
        return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"").digest()
    return repr(value).encode()


def main() -> None:
    """Read the settings from stdin and write the hash to stdout; what the factory prints goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    digest = fingerprint(json.loads(sys.stdin.read()))
    with os.fdopen(answer, "w") as out:
        out.write(digest)


if __name__ == "__main__":
    die_with_parent()
    main()
