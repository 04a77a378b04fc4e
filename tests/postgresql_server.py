"""A real PostgreSQL for tests, with a table of flights that a reader may read (Debian: postgresql)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live import until

from tradewind.serving.local.process import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
LOGIN = {"PGUSER": "reader", "PGPASSWORD": "a reader's secret"}
TABLE = """
CREATE TABLE "Flights" AS
SELECT x AS id, x % 2 AS late, 'N' || x % 5 AS tailnum, timestamptz '2013-01-01 00:00Z' + x * interval '1 minute' AS at
FROM generate_series(1, 5000) AS x;
CREATE USER reader PASSWORD 'a reader''s secret';
GRANT SELECT ON "Flights" TO reader;
"""


@contextmanager
def postgresql(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """Its address; who reads it logs in by `LOGIN`.

    Args:
        folder: an empty one; the server's log lies beside it, and says who connects.
        host: the address that it listens on.
    """
    data = folder / "data"
    data.mkdir()
    for path in (folder, data):
        shutil.chown(path, "postgres", "postgres")
    for parent in [p for p in folder.parents if p.name.startswith(("pytest-", "popen-"))]:
        parent.chmod(0o755)
    as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] if os.geteuid() == 0 else []
    (folder / "password").write_text("owner")
    (folder / "password").chmod(0o644)
    making = ["-D", str(data), "-U", "owner", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    assert PROGRAMS, "no PostgreSQL: apt-get install postgresql"
    subprocess.run([*as_owner, str(PROGRAMS[-1] / "initdb"), *making], check=True, capture_output=True)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
    port = str(free_port())
    listening = ["-c", f"listen_addresses={host}", "-c", "log_connections=on", "-p", port, "-k", str(folder)]
    with (folder.parent / "postgresql.log").open("wb") as log:
        server = subprocess.Popen(
            [*as_owner, str(PROGRAMS[-1] / "postgres"), "-D", str(data), *listening], stderr=log, stdout=log
        )
    psql = ["psql", "-h", host, "-p", port, "-U", "owner", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
    environment = {**os.environ, "PGPASSWORD": "owner"}
    try:
        until(
            lambda: subprocess.run([*psql, "-c", "SELECT 1"], env=environment, capture_output=True).returncode == 0,
            within_s=60, what="the database's answer",
        )  # fmt: skip
        subprocess.run(psql, input=TABLE, env=environment, text=True, check=True, capture_output=True)
        yield f"jdbc:postgresql://{host}:{port}/postgres"
    finally:
        server.terminate()
        server.wait()
