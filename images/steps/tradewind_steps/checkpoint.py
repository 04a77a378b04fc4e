"""What a training saves of its work, so that its next try goes on where this one was ended: killed, out of memory, evicted.

The files lie in a local folder. `Checkpoint.saved` puts them into the store as one file, which takes the place of the one
before it whole or not at all. It is found under the step's fingerprint: what determines the result. So a changed parameter,
line of code or row starts afresh, and two runs that do the same at once read each other's work and write each their own.
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tradewind.errors import StoreError
from tradewind.files import File
from tradewind.store import Store, temporary_folder

log = logging.getLogger("tradewind")


class Checkpoint:
    """What the user's function has as ``dataset.checkpoint``.

    Args:
        folder: an empty local folder.
        store: where it is kept; None: nowhere, it ends with the process.
        key: what it is found under.
        writer: what distinguishes this try from all others.

    Attributes:
        folder: a training's own files. At its start those that an earlier try had there when it last called `saved`; none
            on a fresh start.
    """

    def __init__(self, folder: Path, *, store: Store | None = None, key: str = "", writer: str = "") -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._store = store
        self._uri = store.checkpoint_uri(key, writer) if store else ""
        self.resumed_from: str | None = None  # URI of what an earlier try saved
        self._before: set[str] = set()  # URIs of what ours takes the place of, by its first save
        if store:
            self._restore(store, store.checkpoints(key))

    def saved(self) -> None:
        """Keep what is in the folder now; the next try starts with it. What was kept before stays until this is whole.

        Call it between two writes, from one thread (and from one process, where several learn together). A store that does
        not take it is a warning: the training goes on, and what was kept last stays.
        """
        if not self._store:
            return
        packed = self.folder.with_name(f"{self.folder.name}.zip")
        try:
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
                archive.comment = "\n".join(self._before).encode()  # for the next try, where this one is killed before they go
                for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
                    archive.write(path, path.relative_to(self.folder).as_posix())
            self._store.replace(packed, self._uri)
            for uri in self._before - {self._uri}:  # a lost pod's, it may be: then it is the same try
                self._store.delete(uri, half_written=True)  # ours has all that was in it
            self._before.clear()
        except (OSError, StoreError) as error:
            log.warning("The checkpoint could not be kept, the one before it stays: %s", error)
        finally:
            packed.unlink(missing_ok=True)

    def fit(self, model: Any, X: Any, y: Any, **arguments: Any) -> Any:  # noqa: N803
        """``model.fit(X, y, **arguments)`` of an XGBoost estimator, which saves itself every 20 rounds and goes on from there;
        of any other kind of model ``fit`` as it is. Returns the model."""
        if hasattr(model, "get_booster"):
            from tradewind_steps import boosting

            return boosting.fit(self, model, X, y, **arguments)
        return model.fit(X, y, **arguments)

    def remove(self) -> None:
        """Forget it: the work is done."""
        if self._store:
            for uri in {self._uri, *self._before}:
                self._store.delete(uri, half_written=True)

    def _restore(self, store: Store, found: list[File]) -> None:
        """Unpack the newest that is whole: a run that has just succeeded may be removing its own."""
        for file in found:
            try:
                with temporary_folder() as copy, zipfile.ZipFile(store.download(file.uri, Path(copy))) as archive:
                    archive.extractall(self.folder)
                    self._before = {file.uri} | ({other.uri for other in found} & set(archive.comment.decode().splitlines()))
            except (FileNotFoundError, zipfile.BadZipFile) as error:
                log.warning("The checkpoint %s cannot be read and is left out: %s", file.uri, error)
                shutil.rmtree(self.folder)
                self.folder.mkdir()
                continue
            self.resumed_from = file.uri
            log.info(
                "There is a checkpoint of an earlier try, of %s",
                datetime.fromtimestamp(file.modified, UTC).isoformat(" ", "seconds"),
            )
            return
