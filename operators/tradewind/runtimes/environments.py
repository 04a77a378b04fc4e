"""Python environments made from an image's lock: what a pod gets from the image, a local process gets from here."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.resources import data_path, package_folders


def lock_path(image: str) -> Path:
    """The lock of an image; SpecError where there is no such image."""
    path = data_path(f"images/{image}/requirements.lock")
    if not path.exists():
        known = sorted(p.parent.name for p in path.parents[1].glob("*/requirements.lock"))
        raise SpecError(f"There is no image {image!r}; there are: {', '.join(known)}")
    return path


@functools.cache
def environment_id(image: str) -> str:
    """What distinguishes one environment from another: lock, Python and platform. Part of every fingerprint."""
    lock = hashlib.sha256(lock_path(image).read_bytes()).hexdigest()[:12]
    return f"{lock}-py{sys.version_info.major}.{sys.version_info.minor}-{sys.platform}-{platform.machine()}"


class Environments:
    """Makes environments on first use and finds them after; safe for several processes at once.

    Args:
        folder: where they lie, one folder each, named after the image and its `environment_id`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, image: str) -> Path:
        return self.folder / f"{image}-{environment_id(image)}"

    def python(self, image: str, say: Callable[[str], None] = lambda _: None) -> Path:
        """The interpreter of the image's environment, made now if it is not there.

        Args:
            say: called with one line before the work starts.

        Raises:
            RuntimeUnavailable: the packages cannot be had; carries what uv said.
        """
        path = self.path(image)
        python, complete = path / "bin" / "python", path / "complete"
        if not complete.exists():
            with _locked(path.with_name(f"{path.name}.lock")) as held:
                if not complete.exists():
                    say(f"Making the environment {path.name} from images/{image}/requirements.lock")
                    _make(path, lock_path(image), held)
                    complete.touch()
        _link_packages(python)
        return python


def _make(path: Path, lock: Path, held: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "VIRTUAL_ENV": str(path)}
    _uv("venv", "--quiet", "--python", sys.executable, str(path), environment=environment, held=held)
    _uv("pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", str(lock), environment=environment, held=held)


def _uv(*arguments: str, environment: dict[str, str], held: int) -> None:
    import uv  # here: only who makes an environment needs it

    # uv holds the lock too: it may outlive a task that is killed, and must not meet the next one's uv in the same folder.
    done = subprocess.run(
        [uv.find_uv_bin(), *arguments], env=environment, capture_output=True, text=True, check=False, pass_fds=(held,)
    )
    if done.returncode:
        raise RuntimeUnavailable(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr.strip()}")


def _link_packages(python: Path) -> None:
    """Show the environment our own packages: links, so that operator and step are always of one version."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = python.parents[1] / "lib" / version / "site-packages"
    for name, folder in package_folders().items():
        link = site / name
        if not link.is_symlink() or link.readlink() != folder:
            temporary = site / f".{name}.{uuid.uuid4().hex}"
            temporary.symlink_to(folder)
            temporary.replace(link)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Wait for the lock and hold it; its file descriptor, which a process that inherits it holds too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
