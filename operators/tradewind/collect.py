"""Garbage collection of the store: mark what kept runs and registered models refer to, sweep the rest."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from tradewind.contract import StepManifest
from tradewind.files import File
from tradewind.store import MANIFEST, SPEC, Store


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What went, or would go: folders and files, and their bytes."""

    uris: list[str]
    size: int


def collect(store: Store, *, held: Collection[str], keep_runs: int, grace_s: float, dry_run: bool = False) -> Freed:
    """Delete what nothing refers to.

    Kept are: the newest ``keep_runs`` runs of each Dag; every try whose outputs a kept run or a registered model refers to;
    small files that a kept try names; cache entries whose outputs are kept; and whatever is younger than ``grace_s``
    seconds, since a run may be about to use it. By their age alone go checkpoints (a training that saves one again has it again)
    and what a sweep noted of a trial (a sweep that has ended is reused by its own entry).

    Args:
        held: URIs that others hold: models of registered versions, manifests that are their lineage.
    """
    before = time.time() - grace_s
    tries = _tries(store)
    manifests = {folder: store.get_manifest(f"{folder}/{MANIFEST}") for folder, files in tries.items() if _has(files, MANIFEST)}

    kept = _newest_runs(tries, keep_runs) | {folder for folder, files in tries.items() if any(f.modified > before for f in files)}
    held_folders = {_try_of(store, uri) for uri in held}
    wanted = set(held)
    for folder in kept | (held_folders & tries.keys()):
        wanted |= _named_by(store, folder, tries[folder], manifests.get(folder))
    kept |= {folder for uri in wanted if (folder := _try_of(store, uri)) in tries}

    gone: list[tuple[str, int]] = [(folder, sum(f.size for f in files)) for folder, files in tries.items() if folder not in kept]
    # A kept try may have been kept for its outputs alone: what it names is wanted too, for its report must open.
    for folder in kept:
        wanted |= _named_by(store, folder, tries[folder], manifests.get(folder))
    content: dict[str, list[File]] = defaultdict(list)
    for file in store.files(f"{store.root}/content"):
        content[file.uri.rsplit("/", 1)[0]].append(file)  # equal bytes under several names lie in one folder
    for folder, files in content.items():
        if all(f.uri not in wanted and f.modified <= before for f in files):
            gone.append((folder, sum(f.size for f in files)))
    gone += [(file.uri, file.size) for file in store.files(f"{store.root}/checkpoints") if file.modified <= before]
    swept = {folder for folder, _ in gone}
    for file in store.files(f"{store.root}/cache"):
        if not file.uri.endswith(".json"):  # half an entry: its writer was killed
            gone += [(file.uri, file.size)] if file.modified <= before else []
            continue
        outputs = [ref.uri for ref in store.get_manifest(file.uri).outputs.values()]
        if (not outputs and file.modified <= before) or any(
            _try_of(store, uri) in swept or uri.rsplit("/", 1)[0] in swept for uri in outputs
        ):
            gone.insert(0, (file.uri, file.size))  # first: an entry must not outlive what it points to
    if not dry_run:
        for uri, _ in gone:
            store.delete(uri)
    return Freed(uris=[uri for uri, _ in gone], size=sum(size for _, size in gone))


def _tries(store: Store) -> dict[str, list[File]]:
    """The files below ``runs`` by the folder of the try that they belong to."""
    found: dict[str, list[File]] = defaultdict(list)
    for file in store.files(f"{store.root}/runs"):
        found[_try_of(store, file.uri)].append(file)
    return dict(found)


def _has(files: list[File], name: str) -> bool:
    return any(file.uri.endswith(f"/{name}") for file in files)


def _newest_runs(tries: dict[str, list[File]], count: int) -> set[str]:
    """The tries of each Dag's newest runs, by when they last wrote."""
    runs: dict[str, dict[str, float]] = defaultdict(dict)
    for folder, files in tries.items():
        run = folder.rsplit("/", 3)[0]
        dag = run.rsplit("/", 1)[0]
        runs[dag][run] = max(runs[dag].get(run, 0.0), *(f.modified for f in files), 0.0)
    newest = {run for by_run in runs.values() for run in sorted(by_run, key=by_run.__getitem__, reverse=True)[:count]}
    return {folder for folder in tries if folder.rsplit("/", 3)[0] in newest}


def _try_of(store: Store, uri: str) -> str:
    """The folder of the try that ``uri`` lies in: five levels below ``runs``; another URI as it is."""
    prefix = f"{store.root}/runs/"
    return "/".join([f"{store.root}/runs", *uri.removeprefix(prefix).split("/")[:5]]) if uri.startswith(prefix) else uri


def _named_by(store: Store, folder: str, files: list[File], manifest: StepManifest | None) -> set[str]:
    """What a try names: its inputs, its code, its outputs."""
    named: set[str] = set()
    if _has(files, SPEC):
        spec = store.get_spec(f"{folder}/{SPEC}")
        named |= {ref.uri for ref in spec.inputs.values()} | ({spec.code.uri} if spec.code else set())
    if manifest:
        named |= {ref.uri for ref in manifest.outputs.values()}
    return named
