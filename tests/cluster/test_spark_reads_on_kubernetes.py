"""What Spark's executors read beside files, and what they said themselves, whatever became of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql_server import LOGIN, postgresql
from test_spark_on_kubernetes import (  # noqa: F401 - fixtures
    ENDING,
    HOST,
    Sent,
    Space,
    files,
    remote,
    sent,
    space,
)

from tradewind.contract import ArtifactRef
from tradewind.store import Store

pytestmark = pytest.mark.timeout(900)
RANGES = 4
FLIGHTS = """
import socket
import time


def speak(rows):
    print("an executor's own words on", socket.gethostname(), flush=True)
    yield socket.gethostname()


def build(spark, sources, params):
    hosts, until = set(), time.monotonic() + 120  # Spark begins with the executors that there are
    while len(hosts) < 2 and time.monotonic() < until:
        hosts |= set(spark.sparkContext.parallelize(range(8), 8).mapPartitions(speak).collect())
    return sources["flights"].selectExpr("id", "late AS y")
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Its address, and its log."""
    folder = tmp_path_factory.mktemp("postgresql")
    with postgresql(folder, HOST) as address:
        yield address, folder.parent / "postgresql.log"


def kept(remote: Store, log: str) -> dict[str, str]:  # noqa: F811
    """By executor, what it said."""
    found = re.findall(r"^What executor (\S+) said: (\S+)$", log, re.MULTILINE)
    return {name: remote.read(uri).decode() for name, uri in found}


def test_executors_read_ranges_of_a_table(
    space: Space, remote: Store, sent: Sent, database: tuple[str, Path]  # noqa: F811
) -> None:  # fmt: skip
    address, server = database
    space.core.patch_namespaced_secret("store", space.namespace, {"stringData": LOGIN})
    spec, _ = sent(FLIGHTS)
    table = f"{address}?table=public.Flights&key=id&partitions={RANGES}"
    spec = dataclasses.replace(spec, inputs={"flights": ArtifactRef(uri=table, sha256="0", size=0, kind="dataset")})
    before = server.read_text().count("authorized: user=reader")
    log = space.ended(space.start(remote.put_spec(spec)))
    done = remote.get_manifest(f"{spec.outputs_uri}/manifest.json")
    assert done.error is None
    assert (done.metrics["rows"], done.metrics["label_rate"]) == (5000, 0.5)
    assert server.read_text().count("authorized: user=reader") - before >= RANGES
    assert LOGIN["PGPASSWORD"] not in log

    said = kept(remote, log)
    assert len(said) == 2 and not space.executors()
    assert all(f"an executor's own words on {name}" in text for name, text in said.items())
    assert not any(LOGIN["PGPASSWORD"] in text for text in said.values())


def test_what_one_that_failed_said_is_kept(space: Space, remote: Store, sent: Sent) -> None:  # noqa: F811
    _, uri = sent(ENDING, executors=1, min_executors=1)
    log = space.ended(space.start(uri))
    [ended] = re.findall(r"^Executor (\S+) ended: Error, exit code 143", log, re.MULTILINE)
    said = kept(remote, log)
    assert "SIGNAL TERM" in said[ended] and len(said) >= 2
