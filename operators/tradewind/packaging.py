"""A pipeline's folder as a code bundle, and the hash of the part of it that one entry point really uses."""

from __future__ import annotations

import ast
import functools
import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tradewind.contract import ArtifactRef
from tradewind.errors import SpecError
from tradewind.resources import package_folders
from tradewind.store import Store, hash_file, hash_names

MAX_BUNDLE_BYTES = 20_000_000
_IGNORED = {"__pycache__", "node_modules"}
# Of `tradewind`, in a step's process too.
_SHARED = ("cache", "contract", "errors", "filesystems", "rules", "store", "sweep/best", "sweep/space", "sweep/study")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first instant that a zip can say: a bundle's bytes depend on its files alone


def bundle(folder: Path, store: Store) -> ArtifactRef:
    """Zip a pipeline's folder into the store under its content hash. What is hidden (``.env``, ``.git``) stays at home.

    Raises:
        SpecError: the folder holds more than 20 MB, which is data and not code.
    """
    files = _files(folder)
    size = sum(p.stat().st_size for p in files)
    if size > MAX_BUNDLE_BYTES:
        largest = max(files, key=lambda p: p.stat().st_size)
        raise SpecError(
            f"The pipeline's folder {folder} holds {size / 1e6:.0f} MB, at most {MAX_BUNDLE_BYTES / 1e6:.0f} MB travel with "
            f"a step; keep data elsewhere (largest: {largest.relative_to(folder)})"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.writestr(
                zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED
            )
    return store.put_content("code.zip", buffer.getvalue(), "code")


def used_code(folder: Path, entry_point: str | None, files: Iterable[str] = ()) -> str:
    """sha256 over what a step uses of the pipeline's folder, see `used_files`."""
    return hash_names([(name, hash_file(folder / name)) for name in used_files(folder, entry_point, files)])


def used_files(folder: Path, entry_point: str | None, files: Iterable[str] = ()) -> list[str]:
    """What a step uses of the pipeline's folder: the entry point's module, what that imports from the folder (followed
    through), and the declared ``files``.

    Raises:
        SpecError: the module or a declared file is not there.
    """
    used: set[Path] = set()
    if entry_point is not None:
        module, _, function = entry_point.partition(":")
        if not (module and function):
            raise SpecError(f"Entry point {entry_point!r}: expected 'module:function'")
        found = _find(folder, module)
        if not found:
            raise SpecError(f"Entry point {entry_point!r}: there is no {module.replace('.', '/')}.py in {folder}")
        _follow(folder, found, used)
    for name in files:
        path = folder / name
        if ".." in Path(name).parts or not path.is_relative_to(folder) or not path.is_file():
            raise SpecError(f"There is no file {name!r} in {folder}")
        used.add(path)
    return [path.relative_to(folder).as_posix() for path in sorted(used)]


@functools.cache
def own_code() -> str:
    """sha256 of the code that runs in every step's process: ``tradewind_steps``, and what it imports of ``tradewind``."""
    return hash_names([(name, hash_file(path)) for name, path in own_files()])


def own_files() -> list[tuple[str, Path]]:
    """The files of that code: those of ``tradewind_steps`` by their path in it, those of ``tradewind`` with that before it."""
    packages = package_folders()
    steps = packages["tradewind_steps"]
    own = [(path.relative_to(steps).as_posix(), path) for path in _files(steps)]
    shared = [(f"tradewind/{name}.py", packages["tradewind"] / f"{name}.py") for name in _SHARED]
    return own + shared


def _files(folder: Path) -> list[Path]:
    """What is somebody's work in a folder: nothing hidden, nothing compiled. Links are followed, but not to where one is."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=True):
        here = Path(root)
        folders[:] = [
            name
            for name in folders
            if name not in _IGNORED and not name.startswith(".") and not here.resolve().is_relative_to((here / name).resolve())
        ]
        found += [here / name for name in names if not name.startswith(".") and not name.endswith(".pyc")]
    return sorted(path for path in found if path.is_file())


def _follow(folder: Path, found: list[Path], used: set[Path]) -> None:
    for path in found:
        if path in used:
            continue
        used.add(path)
        for module in _imports(path, folder):
            _follow(folder, _find(folder, module), used)


def _imports(path: Path, folder: Path) -> set[str]:
    """Absolute names of all that a file imports anywhere in it; a name imported from a package may be a module of it."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise SpecError(f"{path}:{error.lineno}: {error.msg}") from error
    package = list(path.relative_to(folder).parts[:-1])
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.update([module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)])
    return names - {""}


def _find(folder: Path, module: str) -> list[Path]:
    """The files in the folder that importing ``module`` runs: the packages on the way and the module; none if not ours."""
    parts = module.split(".")
    packages = [folder.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [p for p in [*packages, folder.joinpath(*parts).with_suffix(".py")] if p.is_file()]
