"""A file that someone gave us -> a table of what is written in it, or an error that says why not.

What a file is, its first bytes tell and not its name. A CSV is read as text, so that a bad cell is found and named
before it is cast; Parquet comes with its types. Whatever cannot be read fails here, before any rule is judged.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tradewind.errors import ValidationFailed

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]
"""What a CSV cell says where it says nothing."""

_EXPECTED = "expected a CSV in UTF-8 (plain, .gz, or .zip with one file) or Parquet"
_FOREIGN = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF-": "a PDF document",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3\0": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x7fELF": "a program",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}
# Letters with which a header may begin too (ORCID, GIF89a_size): they count where bytes follow that no text has.
_FOREIGN_LETTERS = {b"GIF8": "a GIF image", b"ORC": "an ORC file", b"BZh": "a bzip2 archive"}
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r"))
_JSON = re.compile(rb'\s*(\{\s*["}]|\[\s*[{["\]])')  # not each bracket: a header may begin with one
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_BLOCK = 8 << 20


def read_table(path: Path) -> pa.Table:
    """All columns and rows of a CSV (text, missing cells null) or of a Parquet file or folder (its own types).

    Raises:
        ValidationFailed: it is missing, empty, cut off, of another format or encoding, or its header is unusable; the
            message names the file, what was expected and what was found.
    """
    if not path.exists():
        raise ValidationFailed(f"There is no file or folder at {path}")
    if path.is_dir() or _first_bytes(path).startswith(b"PAR1"):
        table = _read_parquet(path)
    else:
        table = _read_csv(_text_bytes(path), path.name)
    repeated = sorted(name for name, count in Counter(table.column_names).items() if count > 1)
    if repeated:
        raise ValidationFailed(f"{path.name}: expected each column name once, got more than one column named {_names(repeated)}")
    if not table.num_rows:
        raise ValidationFailed(
            f"{path.name}: expected rows, got only a header of {table.num_columns} columns ({_names(table.column_names)})"
        )
    return table


def _read_parquet(path: Path) -> pa.Table:
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p.relative_to(path))]
        if not files:
            raise ValidationFailed(f"{path.name}: expected a folder of Parquet files, got an empty folder")
        for file in files:
            if not _first_bytes(file).startswith(b"PAR1"):
                raise ValidationFailed(f"{path.name}: expected a folder of Parquet files, got {file.name}, which is not Parquet")
    try:
        table: pa.Table = pq.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, ValueError) as error:
        raise ValidationFailed(
            f"{path.name}: expected whole Parquet, got something cut off, damaged or of several schemas: {error}"
        ) from error
    columns = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _text_bytes(path: Path) -> bytes:
    """The bytes of the CSV at ``path``, unpacked, without a byte order mark, known to be UTF-8 text."""
    data = path.read_bytes()
    if data.startswith(b"PK\x03\x04") or data.startswith(b"PK\x05\x06"):
        data = _unzip(path)
    elif data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValidationFailed(
                f"{path.name}: expected a whole gzip file, got one that is cut off or damaged: {error}"
            ) from error
    data = data.removeprefix(_BOM)
    if not data.strip():
        raise ValidationFailed(f"{path.name}: {_EXPECTED}, got an empty file")
    _check_text(data, path.name)
    return data


def _unzip(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
            if len(members) != 1:
                found = _names([m.filename for m in members[:5]]) or "nothing"
                raise ValidationFailed(f"{path.name}: expected a .zip with one file, got {len(members)}: {found}")
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValidationFailed(f"{path.name}: expected a whole zip file, got one that is cut off or damaged: {error}") from error
    except (RuntimeError, NotImplementedError) as error:
        raise ValidationFailed(f"{path.name}: expected a .zip that opens without a password: {error}") from error


def _check_text(data: bytes, name: str) -> None:
    for magic, what in _FOREIGN.items():
        if data.startswith(magic):
            raise ValidationFailed(f"{name}: {_EXPECTED}, got {what}")
    for letters, what in _FOREIGN_LETTERS.items():
        if data.startswith(letters) and len(data[:200].translate(None, _CONTROL)) < len(data[:200]):
            raise ValidationFailed(f"{name}: {_EXPECTED}, got {what}")
    start = data[:200].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValidationFailed(
            f"{name}: {_EXPECTED}, got an HTML or XML page that starts with {data[:60].decode(errors='replace')!r}"
        )
    if _is_json(data):
        raise _json(data, name)
    nul = data.find(b"\0")
    if data.startswith(_UTF16) or (0 <= nul < 200 and data[:200].count(b"\0") > 20):
        raise ValidationFailed(f"{name}: expected the encoding UTF-8, got what looks like UTF-16; save it as UTF-8")
    if nul >= 0:
        raise ValidationFailed(f"{name}: {_EXPECTED}, got a zero byte in line {_line(data, nul)}: this is not text")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        around = data[max(error.start - 20, 0) : error.start + 20].splitlines()
        shown = next((part for part in around if data[error.start : error.start + 1] in part), b"").decode("latin-1")
        raise ValidationFailed(
            f"{name}: expected the encoding UTF-8, got the byte 0x{data[error.start]:02x} in line {_line(data, error.start)} "
            f"(near {shown!r}), which looks like Latin-1 or Windows-1252; save it as UTF-8"
        ) from error


def _read_csv(data: bytes, name: str) -> pa.Table:
    lines = csv.reader(io.StringIO(data[:_BLOCK].decode(errors="ignore"), newline=""))
    header = next((line for line in lines if line), [])  # empty lines above it are no header to Arrow either
    text = pacsv.ConvertOptions(
        column_types={column: pa.string() for column in header}, strings_can_be_null=True, null_values=MISSING, check_utf8=False
    )
    # Arrow's own memory: one of its threads lets go of the bytes a moment after the table is there, and were they Python's,
    # that would abort an interpreter that is just ending.
    buffer = pa.allocate_buffer(len(data))
    pa.FixedSizeBufferWriter(buffer).write(data)

    def parse(*, threads: bool, on_odd: Callable[[pacsv.InvalidRow], str] | None = None) -> pa.Table:
        return pacsv.read_csv(
            pa.BufferReader(buffer),
            read_options=pacsv.ReadOptions(use_threads=threads, block_size=_BLOCK),
            parse_options=pacsv.ParseOptions(newlines_in_values=b'"' in data, invalid_row_handler=on_odd),
            convert_options=text,
        )

    try:
        return parse(threads=True)
    except pa.ArrowInvalid as error:
        if _JSON.match(data):
            raise _json(data, name) from error
        if len(set(header)) < len(header):
            repeated = sorted(column for column, count in Counter(header).items() if count > 1)
            raise ValidationFailed(
                f"{name}: expected each column name once, got more than one column named {_names(repeated)}"
            ) from error
        odd: list[pacsv.InvalidRow] = []

        def on_odd(row: pacsv.InvalidRow) -> str:
            odd.append(row)
            return "error"

        try:  # Only one thread knows the number of a row.
            parse(threads=False, on_odd=on_odd)
        except pa.ArrowInvalid as single:
            error = single
        if odd:
            row = odd[0]
            raise ValidationFailed(
                f"{name}: expected {row.expected_columns} columns ({_names(header)}), got {row.actual_columns} in line "
                f"{row.number}: {row.text[:120]!r}; is the file cut off?"
            ) from error
        raise ValidationFailed(f"{name}: {_EXPECTED}; reading it as CSV says: {error}") from error


def _is_json(data: bytes) -> bool:
    """Whether a whole JSON document fills the first lines."""
    if not _JSON.match(data):
        return False
    text = data.decode(errors="replace").lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return not text[end:].split("\n", 1)[0].strip()


def _json(data: bytes, name: str) -> ValidationFailed:
    return ValidationFailed(f"{name}: {_EXPECTED}, got JSON that starts with {data[:60].decode(errors='replace')!r}")


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _hidden(relative: Path) -> bool:
    return any(part[:1] in ("_", ".") for part in relative.parts)


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _names(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
