"""Modules that take long, imported beside the reading of data."""

from __future__ import annotations

import importlib
import threading


class Imports:
    """Starts importing at once, in a thread; `done` waits for it. What fails here fails again, and is seen, where the
    module is used."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._thread = threading.Thread(target=self._work, name="imports", daemon=True)
        self._thread.start()

    def done(self) -> None:
        self._thread.join()

    def _work(self) -> None:
        for name in self._names:
            importlib.import_module(name)
