"""What the embedded environment has on this machine: Python, Java, a folder, environments, model servers, profiles."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from tradewind.cli.doctor.result import LIMIT, Check, Result, failed, passed, skipped
from tradewind.cli.embedded import IMAGES, check_java
from tradewind.cli.itself import command
from tradewind.errors import RuntimeUnavailable
from tradewind.runtimes.environments import Environments, lock_path
from tradewind.serving.local.client import LocalServing
from tradewind.settings import SECTION, Settings

_PYTHONS = ((3, 11), (3, 12))
_FREE_MB = 1024  # below which a day's runs are in danger
_ENVIRONMENTS_MB = 5120  # what making all of them takes, uv's cache counted in
_MIB = 1 << 20


def checks(settings: Settings) -> list[Check]:
    return [
        Check(name="Python", look=python),
        Check(name="Java", look=java, hint="Install Java, or set JAVA_HOME to where it is"),
        Check(name="home", look=lambda: home(settings), hint=f"Set [{SECTION}] home to a folder that this user may write to"),
        Check(
            name="environments",
            look=lambda: environments(settings),
            limit_s=12 * LIMIT,
            hint="Steps run in environments that are made from locks: see that uv and a package index are to be had",
        ),
        Check(
            name="serving",
            look=lambda: serving(settings),
            hint=f"Start `{command()} serve --home {settings.home}`, or `{command()} demo`, which starts everything",
        ),
        Check(name="profiles", look=lambda: profiles(settings)),
    ]


def python() -> Iterator[Result]:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] in _PYTHONS:
        yield passed("Python", found)
    else:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in _PYTHONS)
        yield failed("Python", f"expected {wanted}, got {found}", f"Install Airflow and this package in Python {wanted}")


def java() -> Iterator[Result]:
    yield passed("Java", check_java())


def home(settings: Settings) -> Iterator[Result]:
    """Whether what there is of the folder can be written, and has room. Makes nothing that stays."""
    folder = settings.home
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        yield failed("home", f"{there} is not a folder", f"Remove it, or set [{SECTION}] home to another place")
        return
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        user = f"user {os.geteuid()}"
        yield failed("home", f"{there}: {error.strerror}", f"Let {user} write there, or set [{SECTION}] home to another folder")
        return
    free = shutil.disk_usage(there).free // _MIB
    what = f"{folder}{'' if there == folder else f' (not created yet, in {there})'}: writable, {free:,} MiB free"
    if free < _FREE_MB:
        yield failed("home", what, f"Free {_FREE_MB - free:,} MiB or more: `{command()} gc` removes what nothing refers to")
    else:
        yield passed("home", what)


def environments(settings: Settings) -> Iterator[Result]:
    """Each is made, or can be: uv is there, the package index answers, there is room."""
    made = Environments(settings.home / "envs")
    missing = [image for image in IMAGES if not (made.path(image) / "complete").exists()]
    for image in IMAGES:
        if image not in missing:
            yield passed(f"environment {image}", f"made: {made.path(image)}")
    if not missing:
        return
    folder = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(folder).free // _MIB
    problem = _index_problem(missing[0])
    for image in missing:
        name = f"environment {image}"
        if problem:
            fix = "Check that this machine can reach a package index (set UV_DEFAULT_INDEX for one other than PyPI)"
            yield failed(name, f"not made yet, and its packages cannot be downloaded: {problem}", fix)
        elif free < _ENVIRONMENTS_MB:
            yield failed(name, f"not made yet, and {folder} has {free:,} MiB free", f"Free {_ENVIRONMENTS_MB:,} MiB in all")
        else:
            yield skipped(name, f"not made yet: the first step that needs it makes it, from {lock_path(image)}")


def _index_problem(image: str) -> str:
    """Why the first package of an image's lock is not to be had; empty where it is. Installs nothing."""
    import uv  # here: only who makes an environment needs it

    first = next(line.split()[0] for line in lock_path(image).read_text().splitlines() if "==" in line and line[:1].isalnum())
    with tempfile.TemporaryDirectory() as target:
        command = [
            uv.find_uv_bin(),
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--no-deps",
            "--no-cache",
            "--target",
            target,
            first,
        ]
        try:
            done = subprocess.run(
                [*command, "--python", sys.executable], capture_output=True, text=True, check=False, timeout=6 * LIMIT
            )
        except subprocess.TimeoutExpired:
            return f"no answer for {first} within {6 * LIMIT:.0f} s"
    return done.stderr.strip() if done.returncode else ""


def serving(settings: Settings) -> Iterator[Result]:
    """The supervisor answers. Where steps run as pods somebody may do without: then it is no failure."""
    if settings.serving == "seldon":
        from tradewind.cli.doctor import seldon

        yield from seldon.look(settings)
        return
    try:
        LocalServing(folder=settings.home / "serving").observe("tradewind-doctor")
    except RuntimeUnavailable as error:
        if settings.runtime == "local":
            raise
        yield skipped("serving", str(error), "Only a rollout needs it; training and registering work without it")
        return
    yield passed("serving", f"the supervisor on {settings.home / 'serving'} answers")


def profiles(settings: Settings) -> Iterator[Result]:
    """Every profile runs here; what of it this machine has not is said."""
    cores = os.cpu_count() or 1
    memory = psutil.virtual_memory().total // _MIB
    for name, profile in settings.profiles.items():
        notes = []
        if profile.most_cpu > cores:
            notes.append(f"this machine has {cores} cores")
        if profile.most_memory_mb > memory:
            notes.append(f"this machine has {memory:,} MiB")
        if profile.gpus and not Path("/dev/nvidia0").exists():
            notes.append("no GPU here: such a step trains on the CPU")
        if profile.executors:
            notes.append("no executors here: Spark runs in the step's process")
        asked = f"{profile.most_cpu:g} cores, {profile.most_memory_mb:,} MiB"
        yield passed(f"profile {name}", "; ".join([asked, *notes]))
