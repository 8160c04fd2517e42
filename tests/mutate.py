"""Seeded mutations of valid JSON: damage like that done by disks, networks or attackers."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**30,
    1e-300,
    1e300,
    -1e300,
    float("nan"),
    float("inf"),
    float("-inf"),
    0.5,
    "",
    " ",
    "0",
    "NaN",
    "1e5",
    "yesterday",
    "2026-01-01T00:00:00Z",
    "x" * 100_000,
    "\x00",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe",
    "../../../etc/passwd",
    "[red]markup[/red]",
    [],
    {},
    [[]],
    [None],
    [1, "2", None],
    {"a": {"b": {}}},
    {"": ""},
    [0.1] * 1000,
)
"""Values of the wrong type, size, sign or meaning."""


def mutated_value(good: Any, rng: random.Random) -> Any:
    """Return a copy of plain containers with one to three values changed, deleted, added or repeated."""
    holder = [copy.deepcopy(good)]
    for _ in range(rng.randint(1, 3)):
        _mutate(holder, rng)
    return holder[0]


def mutated_json(good: Any, rng: random.Random) -> bytes:
    """Return `good` as JSON with damaged values or bytes."""
    if rng.random() < 0.7:
        return json.dumps(mutated_value(good, rng)).encode()
    return _mutated_bytes(json.dumps(good).encode(), rng)


def _mutate(holder: list[Any], rng: random.Random) -> None:
    places = list(_places(holder))
    container, key = rng.choice(places)
    action = rng.choice(("replace", "replace", "replace", "delete", "add", "repeat"))
    if container is holder or action == "replace":
        container[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif action == "delete":
        del container[key]
    elif action == "add" and isinstance(container, dict):
        container[rng.choice(("extra", "", "__class__", "x" * 1000))] = copy.deepcopy(rng.choice(HOSTILE))
    elif action == "repeat" and isinstance(container, list):
        container.extend([container[key]] * rng.choice((1, 7, 1000)))


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) below `node`."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    found = [(node, key) for key in keys]
    return found + [place for key in keys for place in _places(node[key])]


def _mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    changed = bytearray(content)
    changed[place] = rng.randrange(256)
    return rng.choice(
        (
            content[:place],
            bytes(changed),
            content[:place] + rng.randbytes(8) + content[place:],
            content + content,
            content.decode().encode("utf-16"),
            b"\xef\xbb\xbf" + content,
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"9" * 10_000,
            b"",
            b"null",
            b"<!DOCTYPE html><html><title>Log in</title></html>",
            rng.randbytes(200),
        )
    )
