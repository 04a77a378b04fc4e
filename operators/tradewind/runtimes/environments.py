"""Python environments made from an image's lock: what a pod gets from the image, a local process gets from here."""

from __future__ import annotations

import contextlib
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

_OLDEST = {"predictor": (3, 12)}  # seldon-core 1.19 wants it


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
    return f"{lock}-py{_python_version(image)}-{sys.platform}-{platform.machine()}"


def _python_version(image: str) -> str:
    """Of an image's environment: this process's own, but for what needs a newer one."""
    major, minor = max(sys.version_info[:2], _OLDEST.get(image, (3, 11)))
    return f"{major}.{minor}"


def _interpreter(version: str) -> str:
    """A Python of that version on this machine; else the version itself, which uv then gets. A name on the path may be a
    launcher for a version that is not there: only one that runs counts."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in (f"python{version}", *map(str, sorted(pyenv.glob(f"versions/{version}*/bin/python")))):
        with contextlib.suppress(OSError):
            asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"]
            found, _, path = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
            if found == version:
                return path
    return version


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
                    _make(path, lock_path(image), _python_version(image), held)
                    complete.touch()
        _link_packages(python, _python_version(image))
        return python


def _make(path: Path, lock: Path, version: str, held: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "VIRTUAL_ENV": str(path)}
    _uv("venv", "--quiet", "--python", _interpreter(version), str(path), environment=environment, held=held)
    _uv("pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", str(lock), environment=environment, held=held)


def _uv(*arguments: str, environment: dict[str, str], held: int) -> None:
    import uv  # here: only who makes an environment needs it

    # uv holds the lock too: it may outlive a task that is killed, and must not meet the next one's uv in the same folder.
    done = subprocess.run(
        [uv.find_uv_bin(), *arguments], env=environment, capture_output=True, text=True, check=False, pass_fds=(held,)
    )
    if done.returncode:
        raise RuntimeUnavailable(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr.strip()}")


def _link_packages(python: Path, version: str) -> None:
    """Show the environment our own packages: links, so that operator and step are always of one version."""
    site = python.parents[1] / "lib" / f"python{version}" / "site-packages"
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
