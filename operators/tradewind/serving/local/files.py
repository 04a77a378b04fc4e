"""What the supervisor keeps: one state file written whole, a lock that says who owns the folder, the clients' token."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from tradewind.contract import ArtifactRef
from tradewind.errors import Locked, StoreError

STATE, TOKEN, FAULTS = "state.json", "token", "faults.json"
_SCHEMA = 1


@dataclass
class VersionState:
    """A version that should serve.

    Attributes:
        model: what it is loaded from.
        weight: its share of the requests in percent.
        mirror: the share of which it gets copies.
        fault: in a drill, what is wrong with it; see `tradewind.testing.faults`.
    """

    model: ArtifactRef
    weight: int = 0
    mirror: int = 0
    fault: str | None = None


@dataclass
class State:
    """What should be, which outlives the supervisor, and what is, which tells the next one what was left.

    Attributes:
        port: the endpoint's, kept for the next start: clients know it.
        targets: versions by target.
        control_url: where the supervisor answers.
        runtime: the folder of Envoy's admin socket.
        processes: ``[process id, start time]`` of every server.
    """

    port: int = 0
    targets: dict[str, dict[str, VersionState]] = field(default_factory=dict)
    control_url: str = ""
    runtime: str = ""
    processes: list[tuple[int, float]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Replace the state file.

        Raises:
            StoreError: the disk is full or the folder is not writable.
        """
        write_json(folder / STATE, {"schema": _SCHEMA, **dataclasses.asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> State:
        """The state in a folder; an empty one where there is none.

        Raises:
            StoreError: the file is damaged or of another schema.
        """
        path = folder / STATE
        if not path.exists():
            return cls()
        try:
            data = json.loads(path.read_bytes())
            if data.pop("schema") != _SCHEMA:
                raise ValueError("another schema")
            data["targets"] = {
                target: {v: VersionState(**{**d, "model": ArtifactRef.from_dict(d["model"])}) for v, d in versions.items()}
                for target, versions in data["targets"].items()
            }
            data["processes"] = [(pid, started) for pid, started in data["processes"]]
            return cls(**data)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} cannot be read ({error}): remove it, then roll out again") from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a file whole or not at all, by renaming another over it; StoreError where the disk will not take it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w") as file:
            json.dump(data, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: {error.strerror or error}") from error


def read_fault(folder: Path, target: str) -> str | None:
    """What shall be wrong with a target's next version; None but in a drill whose process is alive."""
    try:
        found: dict[str, Any] = json.loads((folder / FAULTS).read_bytes())
        alive = psutil.Process(found["pid"]).create_time() == found["started"]
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    return found["faults"].get(target) if alive else None


def new_token(folder: Path) -> str:
    """A fresh secret in a file that only its owner can read: other users of the machine reach loopback too."""
    token, path = secrets.token_urlsafe(32), folder / TOKEN
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token


@contextmanager
def owned(path: Path, *, holder: str, timeout_s: float, what: str) -> Iterator[None]:
    """Hold a lock file. The kernel frees it with the process, so there is no stale lock.

    Args:
        holder: written into the file for whoever comes second.
        what: what the lock protects, for the message.

    Raises:
        Locked: another process holds it for longer than ``timeout_s`` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with path.open("a+") as file:
        while not _locked(file):
            if time.monotonic() >= deadline:
                file.seek(0)
                raise Locked(f"{what} is held by {file.read().strip() or 'another process'}; waited {timeout_s:g} s")
            time.sleep(min(0.1, timeout_s / 10))
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
