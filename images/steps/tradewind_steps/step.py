"""What a step's code is given: the spec, its inputs as local paths, places to write, the user's function."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tradewind.contract import ArtifactRef, Kind, StepSpec
from tradewind.errors import SpecError, StoreError
from tradewind.store import Store, hash_file, hash_folder
from tradewind_steps.checkpoint import Checkpoint

log = logging.getLogger("tradewind")


@dataclass
class StepResult:
    """What a stage's ``run(step)`` returns: key figures (plain JSON, small), beside the outputs that it put. ``reusable`` is
    False where something that is not in the fingerprint had a part in it."""

    metrics: dict[str, Any] = field(default_factory=dict)
    reusable: bool = True


class Step:
    """One try of one step, seen from inside its process.

    Args:
        spec: what to do.
        scratch: an empty local folder, gone after the process.
    """

    def __init__(self, spec: StepSpec, scratch: Path) -> None:
        self.spec = spec
        self.store = Store(spec.store_uri)
        self.scratch = scratch
        self.outputs: dict[str, ArtifactRef] = {}
        self._inputs: dict[str, Path] = {}

    @property
    def params(self) -> dict[str, Any]:
        return self.spec.params

    def input_path(self, name: str) -> Path:
        """The input as a local file or folder; fetched first, once, where the store is remote."""
        if name not in self._inputs:
            folder = self.scratch / "inputs" / name
            folder.mkdir(parents=True, exist_ok=True)
            self._inputs[name] = self.store.download(self.spec.inputs[name].uri, folder)
        return self._inputs[name]

    def output_path(self, name: str) -> Path:
        """Where to write the output ``name`` (a file or a folder) before `put`: its final place where the store is local."""
        uri = f"{self.spec.outputs_uri}/{name}"
        path = self.store.download(uri, self.scratch) if uri.startswith("file://") else self.scratch / "outputs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, name: str, kind: Kind, *, sha256: str | None = None) -> ArtifactRef:
        """Make what was written at ``output_path(name)`` an output.

        Args:
            sha256: the content hash of a table's rows and schema; by default that of the folder's or file's bytes.
        """
        path = self.output_path(name)
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        uri = f"{self.spec.outputs_uri}/{name}"
        self.store.upload(path, uri)
        ref = ArtifactRef(
            uri=uri,
            sha256=sha256 or (hash_folder(path) if path.is_dir() else hash_file(path)),
            size=sum(p.stat().st_size for p in files),
            kind=kind,
        )
        self.outputs[name] = ref
        return ref

    @functools.cached_property
    def checkpoint(self) -> Checkpoint:
        """What an earlier try of this step has saved of its work, and where this one saves its own."""
        spec, folder = self.spec, self.scratch / "checkpoint"
        if spec.checkpoint is None:
            return Checkpoint(folder)
        return Checkpoint(folder, store=self.store, key=spec.checkpoint, writer=spec.outputs_uri)

    def committed(self) -> None:
        """The success is safe: what was saved on the way to it goes. A store that does not let go of it is no failure."""
        if "checkpoint" in vars(self):
            try:
                self.checkpoint.remove()
            except StoreError as error:
                log.warning("The checkpoint stays until `tradewind gc`: %s", error)

    def refer(self, name: str, kind: Kind, *, sha256: str) -> ArtifactRef:
        """Make what others wrote at the output's final place, ``outputs_uri/name``, an output."""
        uri = f"{self.spec.outputs_uri}/{name}"
        size = sum(file.size for file in self.store.files(uri))
        self.outputs[name] = ref = ArtifactRef(uri=uri, sha256=sha256, size=size, kind=kind)
        return ref

    def put_report(self, name: str, filename: str, text: str) -> ArtifactRef:
        """Store a small report (``report.html``, ``summary.json``) under its content hash and make it an output."""
        self.outputs[name] = ref = self.store.put_content(filename, text.encode(), "report")
        return ref

    def code_folder(self) -> Path:
        """The pipeline's folder, unpacked from the code bundle.

        Raises:
            SpecError: this step was given no bundle.
        """
        if not self.spec.code:
            raise SpecError(f"The step {self.spec.step!r} needs the pipeline's folder, and its spec names no code bundle")
        folder = self.scratch / "code"
        if not folder.exists():
            with zipfile.ZipFile(self.store.download(self.spec.code.uri, self.scratch)) as bundle:
                bundle.extractall(folder)
        return folder

    def user_function(self) -> Callable[..., Any]:
        """The user's function that the entry point ``module:function`` names, from the unpacked code bundle.

        Raises:
            SpecError: there is no such module or function; says which functions there are.
        """
        if not self.spec.code or not self.spec.entry_point:
            raise SpecError(f"The step {self.spec.step!r} needs an entry point 'module:function'")
        folder = str(self.code_folder())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return load_function(self.spec.entry_point)


def may_pass(error: Exception) -> bool:
    """Whether what user code raised is worth another try: only where something outside the code may be the cause, a disk or a
    network. A ``KeyError`` after hours of training would come again after as many."""
    return isinstance(error, OSError)


def load_function(entry_point: str) -> Callable[..., Any]:
    """Import ``module:function`` from ``sys.path``."""
    module_name, _, function_name = entry_point.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise SpecError(f"Entry point {entry_point!r}: the pipeline's folder has no module {module_name!r}") from error
        raise
    function = getattr(module, function_name, None)
    if not callable(function):
        there = ", ".join(n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module_name)
        raise SpecError(f"Entry point {entry_point!r}: {module_name}.py has no {function_name!r}; it has: {there or 'none'}")
    return function  # type: ignore[no-any-return]
