"""Files by URI, on this machine or in a bucket. Whatever is written exclusively is written whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tradewind.filesystems import create, explained, is_local, open_uri, read

_REMOVALS = 5  # of one folder, where each meets with another's


@dataclass(frozen=True, kw_only=True)
class File:
    """A file: its bytes, and when it was written in seconds since the epoch."""

    uri: str
    size: int
    modified: float


class Files:
    """Reads and writes by URI.

    Raises:
        StoreError: what keeps the files refuses, or does not answer.
    """

    def read(self, uri: str) -> bytes:
        """The bytes at ``uri``; FileNotFoundError where there are none."""
        fs, path = open_uri(uri)
        with explained(uri):
            return read(fs, path)

    def write(self, uri: str, data: bytes, *, exclusive: bool = False) -> bool:
        """Write whole or not at all. With ``exclusive``, returns False and leaves what is there already."""
        fs, path = open_uri(uri)
        with explained(uri):
            if is_local(fs):
                return _write_local(Path(path), data, exclusive)
            if exclusive:
                return create(fs, path, data)
            fs.pipe_file(path, data)
            return True

    def exists(self, uri: str) -> bool:
        fs, path = open_uri(uri)
        with explained(uri):
            return bool(fs.exists(path))

    def size(self, uri: str) -> int:
        """Bytes of the file at ``uri``; FileNotFoundError where there is none."""
        fs, path = open_uri(uri)
        with explained(uri):
            return int(fs.size(path))

    def names(self, uri: str) -> list[str]:
        """Sorted names in a folder; none where there is no folder."""
        fs, path = open_uri(uri)
        try:
            with explained(uri):
                return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False, refresh=True))
        except FileNotFoundError:
            return []

    def files(self, uri: str) -> list[File]:
        """All files in a folder and below it; none where there is no folder."""
        fs, path = open_uri(uri)
        with explained(uri):
            found = fs.find(path, detail=True)
        base = uri.rstrip("/")
        return [
            File(uri=base + name[len(path.rstrip("/")) :], size=info["size"] or 0, modified=_modified(info))
            for name, info in found.items()
        ]

    def delete(self, uri: str, *, half_written: bool = False) -> None:
        """Remove a file or a folder; nothing happens where there is none.

        Args:
            half_written: also what a writer of it that was killed has left.
        """
        fs, path = open_uri(uri)
        with explained(uri):
            if not is_local(fs):
                if files := fs.find(path):
                    fs.rm([glob.escape(name) for name in files])
                return
            for _ in range(_REMOVALS):
                with suppress(FileNotFoundError):  # another is at it too
                    if fs.exists(path):
                        fs.rm(path, recursive=True)
                    break
            if half_written:
                for left in Path(path).parent.glob(f".{glob.escape(Path(path).name)}.{'?' * 32}"):
                    left.unlink(missing_ok=True)

    def download(self, uri: str, folder: Path) -> Path:
        """A local path with what lies at ``uri``: the file itself where the store is local, else a copy in ``folder``."""
        fs, path = open_uri(uri)
        if is_local(fs):
            return Path(path)
        target = folder / path.rstrip("/").rsplit("/", 1)[-1]
        with explained(uri):
            files = fs.find(path)
            if not files:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
            fs.get(files, [f"{target}{name[len(path) :]}" for name in files])
        return target

    def upload(self, source: Path, uri: str) -> None:
        """Copy a local file or folder to ``uri``; nothing to do where it lies there already."""
        fs, path = open_uri(uri)
        if is_local(fs) and Path(path) == source:
            return
        with explained(uri):
            if is_local(fs):
                fs.put(f"{source}/" if source.is_dir() else str(source), path, recursive=source.is_dir())
                return
            # File by file: told to copy a folder, s3fs makes the bucket too where there is none.
            files = [file for file in source.rglob("*") if file.is_file()] if source.is_dir() else [source]
            fs.put(
                [str(p) for p in files], [f"{path}/{p.relative_to(source).as_posix()}" if p != source else path for p in files]
            )

    def replace(self, source: Path, uri: str) -> None:
        """Copy a local file, however large, to ``uri``: whole or not at all, what was there stays until then."""
        fs, path = open_uri(uri)
        with explained(uri):
            if is_local(fs):
                with _placed(Path(path)) as temporary:
                    shutil.copyfile(source, temporary)
                    _synchronise(temporary)
                    temporary.replace(path)
            else:
                fs.put_file(str(source), path)


def _modified(info: dict[str, Any]) -> float:
    """When a file was written, by whatever name its file system has for that."""
    names = ("mtime", "LastModified", "last_modified", "updated", "created")
    value = next((info[name] for name in names if info.get(name)), None)
    return value.timestamp() if isinstance(value, datetime) else float(value or 0.0)


def _write_local(path: Path, data: bytes, exclusive: bool) -> bool:
    with _placed(path) as temporary:
        temporary.write_bytes(data)
        _synchronise(temporary)
        if not exclusive:
            temporary.replace(path)
            return True
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        return True


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for what will take its place; nothing is left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _synchronise(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
