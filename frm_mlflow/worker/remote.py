"""Commands that a controller runs on the device, one per connection.

`supervise` serves the worker's protocol until the connection ends. The others return one line of
JSON: `{"ok": true, ...}` or `{"ok": false, "error": ..., "kind": ...}`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import PROTOCOL_VERSION, machine, store, turns
from .supervise import supervise

Reply = dict[str, Any]


def main(arguments: Sequence[str], *, serve: Callable[[], int]) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    folder = Path(options.folder).expanduser().absolute()
    if options.command == "supervise":
        affinity = frozenset(int(cpu) for cpu in options.affinity.split(",")) if options.affinity else None
        return supervise(serve, folder=folder, affinity=affinity, memory_limit_mib=options.memory_limit_mib)
    try:
        reply = {"ok": True} | _COMMANDS[options.command](options, folder)
    except store.StoreError as error:
        reply = _refusal(error, folder)
    except OSError as error:
        reply = _refusal(store.as_store_error(error, folder), folder)
    _answer(reply)
    return 0


def _probe(options: argparse.Namespace, folder: Path) -> Reply:  # noqa: ARG001
    store.remove_leftovers(folder)
    return {
        "protocol": PROTOCOL_VERSION,
        "sha256": store.sha256_of(Path(sys.argv[0])),
        "has_numpy": importlib.util.find_spec("numpy") is not None,
        "hardware": machine.hardware(),
        "software": machine.software(),
        "host": os.uname().nodename,
    }


def _conditions(options: argparse.Namespace, folder: Path) -> Reply:  # noqa: ARG001
    return {"conditions": machine.conditions(options.kind, options.index)}


def _receive(options: argparse.Namespace, folder: Path) -> Reply:
    """Report immediately whether the content is already here; if not, read it from standard input."""
    place = store.find(folder, options.key)
    _answer({"ok": True, "place": str(place) if place else None})
    return {"place": str(place or store.receive(sys.stdin.buffer, folder, options.key))}


def _take(options: argparse.Namespace, folder: Path) -> Reply:
    """Write standard input to a file in the scratch folder."""
    target = _scratch_file(options.path, folder)
    with target.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    if store.sha256_of(target) != options.sha256:
        target.unlink()
        raise store.StoreError("what arrived is not what was sent", kind="damaged")
    return {}


def _give(options: argparse.Namespace, folder: Path) -> Reply:
    """Send a file's hash and size, then the file."""
    source = _scratch_file(options.path, folder)
    _answer({"ok": True, "sha256": store.sha256_of(source), "bytes": source.stat().st_size})
    with source.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return {}


def _prune(options: argparse.Namespace, folder: Path) -> Reply:
    store.remove_leftovers(folder)
    removed, size = store.prune(folder, older_than_s=options.older_than_s, now=time.time())
    return {"removed": removed, "bytes": size}


def _hold(options: argparse.Namespace, folder: Path) -> Reply:  # noqa: ARG001
    """Lock a device until standard input ends, or report who holds the lock."""
    taken = turns.take(options.device, options.holder)
    if isinstance(taken, str):
        return {"held": False, "holder": taken}
    _answer({"ok": True, "held": True, "holder": options.holder})
    sys.stdin.buffer.read()
    taken.end()
    return {}


_COMMANDS: dict[str, Callable[[argparse.Namespace, Path], Reply]] = {
    "probe": _probe,
    "conditions": _conditions,
    "receive": _receive,
    "take": _take,
    "give": _give,
    "prune": _prune,
    "hold": _hold,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("frm-worker")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("supervise", *_COMMANDS):
        commands.add_parser(name).add_argument("--folder", required=True)
    parsers = commands.choices
    parsers["supervise"].add_argument("--affinity")
    parsers["supervise"].add_argument("--memory-limit-mib", type=float)
    parsers["conditions"].add_argument("--kind", required=True)
    parsers["conditions"].add_argument("--index", type=int, required=True)
    parsers["receive"].add_argument("--key", required=True)
    parsers["take"].add_argument("--path", required=True)
    parsers["take"].add_argument("--sha256", required=True)
    parsers["give"].add_argument("--path", required=True)
    parsers["hold"].add_argument("--device", required=True)
    parsers["hold"].add_argument("--holder", required=True)
    parsers["prune"].add_argument("--older-than-s", type=float, required=True)
    return parser


def _scratch_file(path: str, folder: Path) -> Path:
    place = Path(path).resolve()
    if (folder / store.SCRATCH).resolve() not in place.parents:
        raise store.StoreError(f"{path} is not in this program's scratch folder", kind="denied")
    return place


def _refusal(error: store.StoreError, folder: Path) -> Reply:
    reply: Reply = {"ok": False, "error": str(error), "kind": error.kind}
    if error.kind == "disk_full":
        reply["free_mib"] = shutil.disk_usage(folder).free / 2**20
    return reply


def _answer(reply: Reply) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
