"""Pure: what differs between two versions, in code, packages, columns and settings."""

from __future__ import annotations

import difflib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINES = 1500  # of all diffs together that a page shows
_LONGEST = 400  # characters of a line
_FILE_BYTES = 200_000
_FILE_LINES = 10_000  # two tables of few distinct lines, 40,000 each, took difflib a minute and a half


@dataclass(frozen=True, kw_only=True)
class FileDiff:
    """One file that differs.

    Attributes:
        what: ``added``, ``removed`` or ``changed``.
        lines: of a unified diff, without its head; none where the file is no text or too large.
        cut: lines of the diff that are not among them.
    """

    name: str
    what: str
    lines: list[str] = field(default_factory=list)
    cut: int = 0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One named thing that differs; None where one side has none."""

    name: str
    before: str | None
    after: str | None


def files_of(bundle: bytes) -> dict[str, bytes]:
    """The files of a code bundle. One that is large for a source file is represented by its checksum."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {
            info.filename: archive.read(info) if info.file_size <= _FILE_BYTES else b"\0%d" % info.CRC
            for info in archive.infolist()
            if not info.is_dir()
        }


def code_changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[FileDiff]:
    """The files that differ, by name."""
    found, left = [], _LINES
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        lines = _unified(old or b"", new or b"")
        what = "added" if old is None else "removed" if new is None else "changed"
        found.append(FileDiff(name=name, what=what, lines=lines[:left], cut=len(lines[left:])))
        left -= len(lines[:left])
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs between two flat tables, by name."""
    return [
        Change(name=name, before=_text(before.get(name)), after=_text(after.get(name)))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def packages(listed: str) -> dict[str, str]:
    """Versions by package, from lines ``name==version``; other lines say nothing of that kind."""
    pairs = (line.split(";")[0].strip().partition("==") for line in listed.splitlines())
    return {name.strip().lower(): version.strip(" \\") for name, equals, version in pairs if equals}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; lists as they are."""
    if not isinstance(value, Mapping) or not value:
        return {name: value} if name else {}
    return {key: item for part, inner in value.items() for key, item in flat(inner, f"{name}.{part}".lstrip(".")).items()}


def _unified(old: bytes, new: bytes) -> list[str]:
    try:
        before, after = old.decode(), new.decode()
    except UnicodeDecodeError:
        return []
    if "\0" in before + after:
        return []
    ours, theirs = before.splitlines(), after.splitlines()
    if min(len(ours), len(theirs)) > _FILE_LINES:
        return []
    lines = difflib.unified_diff(ours, theirs, lineterm="", n=3)
    return [line[:_LONGEST] for line in list(lines)[2:]]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
