"""The artifact store: a folder, on this machine or in a bucket. It is told where, and reads no settings.

Layout below the root::

    runs/<dag>/<run>/<task>/<map index>/<try>/   spec.json, a try's datasets and models, manifest.json (the commit)
    content/<ab>/<sha256>/<name>                 small files under the hash of their bytes: code bundles, reports
    cache/<ab>/<fingerprint>.json                the manifest of the first success with that fingerprint
    memory/<dag>/<task>.json                     how much memory a task turned out to need, where that is more than asked
    checkpoints/<ab>/<key>-<writer>.zip          what a step that is under way, or was ended, has saved of its work

Whatever is written exclusively is written whole or not at all: a reader never sees half a manifest.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from tradewind.contract import ArtifactRef, Kind, StepManifest, StepSpec
from tradewind.errors import StoreError
from tradewind.files import File, Files
from tradewind.filesystems import explained, is_local, open_uri

MANIFEST = "manifest.json"
SPEC = "spec.json"


class Store(Files):
    """Reads and writes below one root.

    Args:
        root: a folder's URI (``file:///data/tradewind``, ``s3://bucket/tradewind``) or a plain path.
    """

    def __init__(self, root: str) -> None:
        self.root = as_uri(root).rstrip("/")

    def run_uri(self, *names: str | int) -> str:
        """The folder of a Dag's runs, of one run, of a task, of a map index or of one try, as far as they are named."""
        return "/".join([self.root, "runs", *(segment(str(name)) for name in names)])

    def cache_uri(self, fingerprint: str) -> str:
        return f"{self.root}/cache/{fingerprint[:2]}/{fingerprint}.json"

    def memory_uri(self, dag_id: str, task_id: str) -> str:
        return f"{self.root}/memory/{segment(dag_id)}/{segment(task_id)}.json"

    # -- runs -----------------------------------------------------------------------------------------------------

    def new_try(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> str:
        """An unused folder for a try. Airflow counts tries from 1 again where a run was deleted and made anew, but what the
        earlier one left may be in use by others: it gets a name of its own (``1-2``)."""
        folder = self.run_uri(dag_id, run_id, task_id, map_index)
        there = {_counted(name.rsplit("/", 1)[-1]) for name in self.tries(folder)}
        again = max((again for again, _ in there), default=1)
        if (again, try_number) in there:
            again += 1
        return f"{folder}/{try_number}" if again == 1 else f"{folder}/{try_number}-{again}"

    def put_spec(self, spec: StepSpec) -> str:
        """Write the spec into its try's folder; returns its URI."""
        uri = f"{spec.outputs_uri}/{SPEC}"
        self.write(uri, spec.to_json().encode())
        return uri

    def get_spec(self, uri: str) -> StepSpec:
        return StepSpec.from_json(self.read(uri))

    def put_manifest(self, folder: str, manifest: StepManifest) -> StepManifest:
        """Commit a try. The first manifest wins: a second one in the same folder gets the first back."""
        uri = f"{folder}/{MANIFEST}"
        if self.write(uri, manifest.to_json().encode(), exclusive=True):
            return manifest
        return self.get_manifest(uri)

    def get_manifest(self, uri: str) -> StepManifest:
        return StepManifest.from_json(self.read(uri))

    def latest_manifest(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> tuple[str, StepManifest] | None:
        """The manifest of the newest committed try of a task instance, with its URI; None before the first."""
        for folder in self.tries(self.run_uri(dag_id, run_id, task_id, map_index)):
            uri = f"{folder}/{MANIFEST}"
            if self.exists(uri):
                return uri, self.get_manifest(uri)
        return None

    def tries(self, folder: str) -> list[str]:
        """The folders of the tries in a task instance's folder, newest first: ``1-2`` is of a later run than ``2``."""
        names = [name for name in self.names(folder) if re.fullmatch(r"\d+(-\d+)?", name)]
        return [f"{folder}/{name}" for name in sorted(names, key=_counted, reverse=True)]

    # -- cache ----------------------------------------------------------------------------------------------------

    def cached(self, fingerprint: str) -> tuple[str, StepManifest] | None:
        """The manifest committed under a fingerprint, if what it refers to is still there.

        Returns the URI of the cache entry and the manifest. An entry whose artifacts are gone is removed.
        """
        uri = self.cache_uri(fingerprint)
        try:
            manifest = self.get_manifest(uri)
        except FileNotFoundError:
            return None
        if all(self.exists(ref.uri) for ref in manifest.outputs.values()):
            return uri, manifest
        self.delete(uri)
        return None

    def put_cached(self, manifest: StepManifest) -> bool:
        """Offer a success for reuse; False where another got there first: its manifest should be taken instead."""
        assert manifest.fingerprint
        return self.write(self.cache_uri(manifest.fingerprint), manifest.to_json().encode(), exclusive=True)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def checkpoint_uri(self, key: str, writer: str) -> str:
        """Where one try saves its work: a file of its own, for two runs that do the same at once have the same key."""
        return f"{self.root}/checkpoints/{key[:2]}/{key}-{hashlib.sha256(writer.encode()).hexdigest()[:16]}.zip"

    def checkpoints(self, key: str) -> list[File]:
        """What tries with that key have saved, the newest first."""
        folder = f"{self.root}/checkpoints/{key[:2]}"
        found = [file for file in self.files(folder) if file.uri.startswith(f"{folder}/{key}-")]
        return sorted(found, key=lambda file: file.modified, reverse=True)

    # -- artifacts ------------------------------------------------------------------------------------------------

    def put_content(self, name: str, data: bytes, kind: Kind) -> ArtifactRef:
        """Store a small file under the hash of its bytes; nothing is written where it is there already."""
        sha256 = hashlib.sha256(data).hexdigest()
        uri = f"{self.root}/content/{sha256[:2]}/{sha256}/{name}"
        if not self.exists(uri):
            self.write(uri, data)
        return ArtifactRef(uri=uri, sha256=sha256, size=len(data), kind=kind)

    def refer(self, uri: str, kind: Kind = "dataset") -> ArtifactRef:
        """A reference to data that is not ours, hashed now: a file's bytes, or a folder's names and bytes.

        On an object store the hash is of the objects' names, sizes and entity tags: reading a lake to hash it would
        cost more than the step.

        Raises:
            StoreError: there is nothing at ``uri``.
        """
        fs, path = open_uri(uri)
        with explained(uri):
            found = fs.find(path, detail=True)
            if not found and not (is_local(fs) and fs.exists(path)):  # a folder without a file is one on a disk only
                raise StoreError(f"There is no file or folder at {uri}")
            files = {name[len(path) :]: info for name, info in sorted(found.items()) if not _hidden(name[len(path) :])}
            if is_local(fs):
                hashes = [(name, hash_file(path + name)) for name in files]
            else:
                hashes = [
                    (name, f"{info['size']} {info.get('ETag') or fs.checksum(path + name)}") for name, info in files.items()
                ]
            size = sum(info["size"] or 0 for info in files.values())
        if len(hashes) == 1 and hashes[0][0] == "" and is_local(fs):
            return ArtifactRef(uri=as_uri(uri), sha256=hashes[0][1], size=size, kind=kind)
        return ArtifactRef(uri=as_uri(uri), sha256=hash_names(hashes), size=size, kind=kind)


def as_uri(path: str) -> str:
    """A URI as it is; a plain path as an absolute ``file://`` URI, not percent-encoded: fsspec does not decode it."""
    return path if "://" in path else f"file://{Path(path).expanduser().absolute()}"


def _counted(name: str) -> tuple[int, int]:
    """How often tries were counted anew, and the try, from a folder's name: ``3`` is (1, 3), ``1-2`` is (2, 1)."""
    number, _, again = name.partition("-")
    return int(again or 1), int(number)


def segment(name: str) -> str:
    """``name`` as one path segment that every file system and Hadoop accept; different names stay different."""
    safe = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)
    if safe == name and name not in ("", ".", ".."):
        return name
    return f"{safe[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def hash_file(path: str | Path) -> str:
    """sha256 of a local file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path) -> str:
    """sha256 of the relative names and bytes of the files in a local folder, in hex."""
    return hash_names(
        [(path.relative_to(folder).as_posix(), hash_file(path)) for path in sorted(folder.rglob("*")) if path.is_file()]
    )


def hash_names(pairs: list[tuple[str, str]]) -> str:
    return hashlib.sha256("".join(f"{name}\0{value}\n" for name, value in pairs).encode()).hexdigest()


def _hidden(relative: str) -> bool:
    """Spark's and Hadoop's side files (``_SUCCESS``, ``.part.crc``) are not data."""
    return any(part[:1] in ("_", ".") for part in relative.split("/"))


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tradewind-")
