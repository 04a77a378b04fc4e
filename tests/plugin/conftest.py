"""One API server for the session: it takes 10-20 s to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from api_server import Server, serve


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("api-server")) as running:
        yield running
