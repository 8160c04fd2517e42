"""The only module that opens files from other tools: every read has limits, and nothing is executed.

No importer opens a file in another way (a test checks this). `importers.limits` has the limits. Every function
raises `ImportFileError` with the file, and the row if there is one.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from frm_mlflow.errors import ImportFileError
from frm_mlflow.importers.limits import (
    MAX_COLUMNS,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_LINE,
    MAX_LINES,
    MAX_MEMBERS,
    MAX_VALUES,
    current,
    fail,
    max_bytes,
    within_time,
)

MAX_WORD = 250
MISSING = frozenset({"", "-", "n/a", "na", "nan", "none", "null", "inf", "-inf", "+inf", "infinity", "-infinity"})
"""Words (lower case) for a figure that was not measured."""
OLDEST_YEAR = 1990

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


# --- opening ---------------------------------------------------------------------------------


class Tree:
    """Files in a folder tree or a zip archive (a wheel), by their path with forward slashes.

    An archive stays open until the end of the `with` block; nothing in it is written to disk.
    """

    def __init__(self, path: Path) -> None:
        self.root = path
        self._archive = None if path.is_dir() else _open_archive(path)
        self.names = _members(self._archive) if self._archive else frozenset(below(path))

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive:
            self._archive.close()

    def text(self, name: str) -> str:
        """Return one file's text."""
        if self._archive is None:
            return read_text(self.root / name, shown=name)
        return _decoded(_unpacked(self._archive, name), name)

    def date(self, name: str) -> datetime:
        """Return when a file was written, in UTC (times in a zip archive have no time zone and are taken as UTC).

        In a reproducibly built wheel, the files are dated 1980: then the archive's own time is used.
        """
        if self._archive is None:
            return modified(self.root / name)
        try:
            written = datetime(*self._archive.getinfo(name).date_time, tzinfo=timezone.utc)
        except ValueError:
            return modified(self.root)
        return written if written.year >= OLDEST_YEAR else modified(self.root)


def _open_archive(path: Path) -> zipfile.ZipFile:
    _regular(path, path.name)
    try:
        return zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        fail(path.name, f"is neither a folder nor a complete zip archive or wheel ({error})")


def _members(archive: zipfile.ZipFile) -> frozenset[str]:
    """Return the members' names; a name that points outside the archive is rejected."""
    shown = Path(str(archive.filename)).name
    names = [item.filename for item in archive.infolist() if not item.is_dir()]
    if len(names) > MAX_MEMBERS:
        fail(shown, f"holds {len(names)} files; at most {MAX_MEMBERS} are read")
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            fail(shown, f"member '{name}' points out of the archive")
    return frozenset(names)


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as stream:
            return stream.read(max_bytes() + 1)
    except NotImplementedError:
        fail(name, "is packed with a compression that Python cannot unpack; pack the archive again with deflate")
    except Exception as error:  # zlib, LZMA and BZ2 raise their own error types, and an archive may be anything
        fail(name, f"cannot be unpacked: {type(error).__name__}: {error}")


def below(folder: Path) -> Iterator[str]:
    """Yield the paths of the regular files in a folder tree; links are not followed."""
    number = 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            number += 1
            if number > MAX_MEMBERS:
                fail(folder.name, f"holds more than {MAX_MEMBERS:,} files; give a folder further down")
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix()


def exists(path: Path) -> bool:
    """Return whether `path` exists; a path that cannot be looked up raises an error that names it."""
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        fail(str(path)[:200], f"cannot be read: {getattr(error, 'strerror', None) or error}")


def modified(path: Path) -> datetime:
    """Return when a file was last written, in UTC; today if that time is before any supported tool existed."""
    try:
        written = datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc)
    except (OSError, OverflowError, ValueError):
        return datetime.now(timezone.utc)
    return written if written.year >= OLDEST_YEAR else datetime.now(timezone.utc)


def _regular(path: Path, shown: str) -> None:
    """Raise unless it is a regular file: a device or a pipe may be endless, or never deliver a byte."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        fail(shown, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if stat.S_ISDIR(mode):
        fail(shown, "is a folder, not a file")
    if not stat.S_ISREG(mode):
        fail(shown, "is not a regular file but a device, pipe or socket; write its content to a file first")


def _bytes_of(path: Path, shown: str, *, at_most: int) -> bytes:
    """Return a file's content, limited to `at_most` bytes; it is checked again once open, and opening never blocks."""
    _regular(path, shown)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                fail(shown, "is not a regular file")
            return stream.read(at_most)
    except OSError as error:
        fail(shown, f"cannot be read: {error.strerror}")


def read_text(path: Path, *, shown: str | None = None) -> str:
    """Return a text file's content, up to `source.limits.max_mib`."""
    name = shown or path.name
    return _decoded(_bytes_of(path, name, at_most=max_bytes() + 1), name)


def head(path: Path, *, size: int = 2**20) -> str:
    """Return the start of a text file next to the imported one, "" if it cannot be read."""
    try:
        return _bytes_of(path, path.name, at_most=size).decode("utf-8", errors="replace")
    except ImportFileError:
        return ""


def _decoded(content: bytes, shown: str) -> str:
    """Decode UTF-8, or UTF-16 as written by PowerShell; an invalid byte becomes U+FFFD, a binary file is rejected."""
    if len(content) > max_bytes():
        fail(shown, f"is larger than {current().max_mib:g} MiB; source.limits.max_mib sets the limit")
    encoding = next((name for bom, name in _BOMS if content.startswith(bom)), "") or _without_bom(content)
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or b"\0" in content[:4096]:
            fail(shown, f"is not UTF-8 or UTF-16 text (byte {error.start})")
    text = content.decode("utf-8", errors="replace").removeprefix("\ufeff")
    if text.count("\ufffd") > max(8, len(text) // 50):
        fail(shown, "is not UTF-8 text: more than 2 % of its characters cannot be decoded")
    return text


def _without_bom(content: bytes) -> str:
    """Return the encoding of text without a byte order mark: in UTF-16, every second byte is zero."""
    start = content[:200]
    if len(start) >= 8 and start[1::2].count(0) > 0.9 * len(start[1::2]) and 0 not in start[::2]:
        return "utf-16-le"
    if len(start) >= 8 and start[::2].count(0) > 0.9 * len(start[::2]) and 0 not in start[1::2]:
        return "utf-16-be"
    return "utf-8"


def fingerprint(text: str) -> str:
    """Return a version for a file that states none: a hash of its content."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:12]


# --- formats ---------------------------------------------------------------------------------


def lines_of(text: str, file: str) -> list[str]:
    """Return the lines of `text`: at most `MAX_LINES`, none longer than `MAX_LINE`."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MAX_LINES:
        fail(file, f"has more than {MAX_LINES:,} lines")
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE:
            fail(file, f"the line is {len(line):,} characters long; at most {MAX_LINE:,} are read", row=number)
    return lines


def load_json(text: str, file: str) -> Any:
    """Return a JSON document; NaN and Infinity, which JSON does not have, become None."""
    if text.count("[") + text.count("{") > MAX_CONTAINERS or text.count(",") > MAX_VALUES:
        fail(file, f"holds more than {MAX_CONTAINERS:,} lists and mappings or {MAX_VALUES:,} values")
    try:
        document = json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        fail(file, f"is not JSON: {error.msg}", row=error.lineno)
    except (RecursionError, ValueError) as error:
        fail(file, f"is not JSON that can be read: {type(error).__name__}")
    _refuse_depth(document, file)
    return document


def _refuse_depth(document: Any, file: str) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, list | dict)
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return
    fail(file, f"is nested more than {MAX_DEPTH} levels deep")


Cells = Mapping[str, str]


def read_csv(text: str, file: str, *, row_failed: Any = None) -> Iterator[tuple[int, Cells]]:
    """Yield (row number in the file, cells by column) of a table separated by commas, semicolons or tabs.

    Lines that start with `#`, empty lines and Excel's `sep=;` are skipped. A row whose length differs
    from the header's raises an error, or is passed to `row_failed(row, problem)`.
    """
    numbered = [(n, line) for n, line in enumerate(lines_of(text, file), start=1) if not _is_comment(line)]
    separator = ""
    if numbered and (stated := re.fullmatch(r"sep=(.)", numbered[0][1].strip())):
        separator = stated[1]
        numbered = numbered[1:]
    separator = separator or _separator(numbered[0][1] if numbered else "")
    reader = csv.reader((line + "\n" for _, line in numbered), strict=True, delimiter=separator)
    yield from _csv_rows(reader, [n for n, _ in numbered], file, row_failed)


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _separator(header: str) -> str:
    """Return the header's separator: the candidate that gives most cells, or a comma if none occurs."""
    return max(",;\t|", key=header.count)


def _csv_rows(reader: Any, numbers: list[int], file: str, row_failed: Any) -> Iterator[tuple[int, Cells]]:
    header: list[str] = []
    for number in range(current().max_rows + 2):
        try:
            cells = next(reader, None)
        except csv.Error as error:
            fail(file, f"is not CSV: {error}", row=_line(reader, numbers))
        if cells is None:
            if not header:
                fail(file, "has no header, or one that names a column twice", row=1)
            return
        row = _line(reader, numbers)
        if not header:
            header = _header(cells, file, row)
            continue
        if number % 1024 == 0:
            within_time(file)
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if not any(cells):
            continue
        if len(cells) == len(header):
            yield row, {name: cell for name, cell in zip(header, cells, strict=True) if name}
        elif row_failed:
            row_failed(row, f"has {len(cells)} cells, the header has {len(header)}")
        else:
            fail(file, f"has {len(cells)} cells, the header has {len(header)}", row=row)
    fail(file, f"has more than {current().max_rows:,} rows; source.limits.max_rows sets the limit")


def _line(reader: Any, numbers: list[int]) -> int:
    return numbers[min(max(reader.line_num, 1), len(numbers)) - 1] if numbers else 1


def _header(cells: list[str], file: str, row: int) -> list[str]:
    header = [cell.strip() for cell in cells]
    while header and not header[-1]:
        header.pop()
    named = [name for name in header if name]
    if not named or len(set(named)) != len(named):
        fail(file, "has no header, or one that names a column twice", row=row)
    if len(header) > MAX_COLUMNS:
        fail(file, f"has {len(header):,} columns; at most {MAX_COLUMNS:,} are read", row=row)
    return header


def read_parquet(path: Path) -> tuple[list[Mapping[str, Any]], str]:
    """Return the rows of a parquet table and its fingerprint.

    Rows, columns and uncompressed size are checked in the metadata before any value is read: 281 KB can
    expand to 7 GiB.
    """
    import pyarrow
    import pyarrow.parquet

    limits = current()
    content = _bytes_of(path, path.name, at_most=max_bytes() + 1)
    if len(content) > max_bytes():
        fail(path.name, f"is larger than {limits.max_mib:g} MiB; source.limits.max_mib sets the limit")
    try:
        table = pyarrow.parquet.ParquetFile(
            pyarrow.BufferReader(content), thrift_string_size_limit=2**24, thrift_container_size_limit=10**6
        )
        metadata = table.metadata
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        size = max(sum(group.total_byte_size for group in groups), len(groups))
        if metadata.num_rows > limits.max_rows or any(group.num_rows > limits.max_rows for group in groups):
            fail(path.name, f"has {metadata.num_rows:,} rows; source.limits.max_rows allows {limits.max_rows:,}")
        if metadata.num_columns > MAX_COLUMNS:
            fail(path.name, f"has {metadata.num_columns:,} columns; at most {MAX_COLUMNS:,} are read")
        if size > 4 * max_bytes() or metadata.num_rows * metadata.num_columns > MAX_VALUES:
            fail(path.name, "unpacks to more than 4 times source.limits.max_mib, or to too many values")
        rows = _parquet_rows(table, path.name)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError) as error:
        fail(path.name, f"is not a parquet table: {str(error)[:120]}")
    return rows, "sha256:" + hashlib.sha256(content).hexdigest()[:12]


def _parquet_rows(table: Any, file: str) -> list[Mapping[str, Any]]:
    """Read batch by batch, so that reading stops if a table expands to more than its metadata states."""
    rows: list[Mapping[str, Any]] = []
    size = 0
    for batch in table.iter_batches(batch_size=1024, use_threads=False):
        within_time(file)
        size += batch.nbytes
        if size > 4 * max_bytes():
            fail(file, "unpacks to more than 4 times source.limits.max_mib")
        rows += batch.to_pylist()
    return rows


# --- cells -----------------------------------------------------------------------------------


def word(cell: object, file: str, row: object) -> str:
    """Return a text cell; spreadsheet formulas and control characters are rejected.

    If a user opened the exported runs in a spreadsheet, it would execute a name that starts like a
    formula.
    """
    if isinstance(cell, list | dict | set | tuple):
        fail(file, f"a name is a {type(cell).__name__}, not a text", row=row)
    text = str(cell).strip()
    if text[:1] in ("=", "+", "@") or re.match(r"-[^\d.]", text):
        fail(file, f"'{text[:40]}' starts like a spreadsheet formula", row=row)
    if len(text) > MAX_WORD or not text.isprintable():
        fail(file, f"a name is longer than {MAX_WORD} characters or holds control characters", row=row)
    if "\ufffd" in text:
        fail(file, f"'{text[:40]}' has bytes that are not UTF-8; save the file as UTF-8", row=row)
    return text


def number(cell: object, file: str, row: object, *, name: str) -> float | None:
    """Return a number, or None if the cell is marked as missing (`N/A`, empty, NaN).

    `12,5` is 12.5 and `1,234.5` is 1234.5; `1,234` could be 1.234 or 1234 and is rejected.
    """
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING):
        return None
    problem = f"{name} is '{str(cell)[:40]}', not a number"
    if isinstance(cell, bool) or (isinstance(cell, str) and ("_" in cell or len(cell) > 400)):
        fail(file, problem, row=row)
    text = _with_point(cell, file, row, name) if isinstance(cell, str) else cell
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        fail(file, problem, row=row)
    return value if math.isfinite(value) else None


_THOUSANDS_COMMA = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_THOUSANDS_POINT = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d*")
_THOUSANDS_POINTS = re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}")
_THOUSANDS_SPACE = re.compile(r"[+-]?\d{1,3}([ '’\u00a0\u2009\u202f]\d{3})+([.,]\d*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


def _with_point(cell: str, file: str, row: object, name: str) -> str:
    """Return a number in Python's notation, if it is unambiguous."""
    text = cell.strip()
    if _THOUSANDS_SPACE.fullmatch(text):
        return re.sub(r"[ '’\u00a0\u2009\u202f]", "", text).replace(",", ".")
    if "," not in text:
        return text.replace(".", "") if _THOUSANDS_POINTS.fullmatch(text) else text
    if _THOUSANDS_POINT.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    if _THOUSANDS_COMMA.fullmatch(text):
        if text.count(",") == 1 and "." not in text and text.lstrip("+-")[:1] != "0":
            one, other = text.replace(",", "."), text.replace(",", "")
            fail(file, f"{name} is '{text}', which can be {one} or {other}: write one of them", row=row)
        if text.lstrip("+-")[:1] != "0":
            return text.replace(",", "")
    if _DECIMAL_COMMA.fullmatch(text):
        return text.replace(",", ".")
    return text


def whole(cell: object, file: str, row: object, *, name: str) -> int | None:
    """Return a positive whole number, or None if the cell is marked as missing."""
    value = number(cell, file, row, name=name)
    if value is None:
        return None
    if value < 1 or value != int(value):
        fail(file, f"{name} must be a positive whole number, got {value:g}", row=row)
    return int(value)
