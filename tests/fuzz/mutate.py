"""Seeded mutations of a sample's bytes: damage like that done by disks, editors, shells or attackers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

ABSURD = (
    "-1", "0", "-0.0", "1e300", "-1e300", "1e999", "NaN", "inf", "-Infinity", "1e-320", "9" * 25, "", "null", "1,234",
    "12,5", "0x10", "1_000", "１２", "١٢", "true", "[]", "{}", "2.5.1", "+", "e5", " 7 ", "0001-01-01", "9999-12-31",
)  # fmt: skip
TEXTS = (
    "\u202e", "\x00", "\x1b[31m", "\u2028", "\x85", "\ufeff", "=cmd|x", "@SUM(1)", "../../etc/passwd", "{stem}",
    "{parent9}", "%s%n", "&&&& RUNNING", "STARTING!", "*a", "&a", "!!python/object:os.system", "<<: x",
    '"', "'", ";", "\t", ",",
    "#", "\r", "\n", "\r\n", "\\u0000", "😀", "a" * 300, "[I] ", "2026-01-01T00:00:00Z ", "FAILED", "Exception caught",
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig", "utf-7")
Mutation = Callable[[bytes, random.Random], bytes]


def mutated(sample: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return `sample` after one to four mutations."""
    content = sample
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        mutation = rng.choice(MUTATIONS)
        content = splice(content, rng.choice(others), rng) if mutation is splice else mutation(content, rng)
    return content[: 4 * 2**20]


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 3, 30))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def behead(content: bytes, rng: random.Random) -> bytes:
    return content[rng.randrange(len(content) + 1) :]


def remove(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.randrange(200) :]


def repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    end = start + rng.randrange(300)
    return content[:start] + content[start:end] * rng.choice((2, 10, 500)) + content[end:]


def shuffle_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def splice(content: bytes, other: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def absurd_numbers(content: bytes, rng: random.Random) -> bytes:
    share = rng.choice((0.02, 0.2, 1.0))
    value = rng.choice(ABSURD)

    def other(found: re.Match[bytes]) -> bytes:
        return rng.choice((value, rng.choice(ABSURD))).encode() if rng.random() < share else found[0]

    return re.sub(rb"\d+(?:\.\d+)?", other, content)


def insert_text(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice((*TEXTS, *ABSURD)).encode() + content[at:]


def nest(content: bytes, rng: random.Random) -> bytes:
    at = rng.choice((0, rng.randrange(len(content) + 1)))
    opening = rng.choice((b"[", b'{"a":', b"{a: ", b"- ", b"(", b"[[{"))
    return content[:at] + opening * rng.choice((50, 1000, 100_000)) + rng.choice((b"", content[at:]))


def long_line(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    filler = rng.choice((b"a", b" ", b"1", b",", b"=", b"a=", b"x.", b"\\", b'"', b"--", b": ", b"[", b".onnx"))
    return content[:at] + filler * (rng.choice((5_000, 1_000_000)) // len(filler)) + content[at:]


def recode(content: bytes, rng: random.Random) -> bytes:
    return content.decode("utf-8", errors="replace").encode(rng.choice(ENCODINGS), errors="replace")


def noise(content: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(400)) if rng.random() < 0.5 else content + rng.randbytes(rng.randrange(200))


MUTATIONS: tuple[Mutation, ...] = (
    flip, cut, behead, remove, repeat, shuffle_lines, splice, absurd_numbers, absurd_numbers,
    insert_text, insert_text, nest, long_line, recode, noise,
)  # type: ignore[assignment]  # splice takes another sample, too  # fmt: skip
