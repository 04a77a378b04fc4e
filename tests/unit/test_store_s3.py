"""What the store promises on S3 beyond what it promises anywhere: many writers at once, and errors that say what is wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from object_store import S3

from tradewind.contract import StepManifest
from tradewind.errors import StoreError
from tradewind.serving.local.process import free_port
from tradewind.store import Store, hash_folder

WRITERS = 20


@pytest.fixture
def store(s3: S3) -> Store:
    return Store(s3.new_place())


def test_of_twenty_threads_one_writes(store: Store) -> None:
    for size in (10, 200_000):
        uri, together = f"{store.root}/{size}", Barrier(WRITERS)

        def write(n: int, uri: str = uri, size: int = size, together: Barrier = together) -> bool:
            together.wait()
            return store.write(uri, b"%02d" % n * size, exclusive=True)

        with ThreadPoolExecutor(WRITERS) as threads:
            won = list(threads.map(write, range(WRITERS)))
        assert sum(won) == 1
        assert store.read(uri) == b"%02d" % won.index(True) * size


WRITER = """
import sys
from tradewind.store import Store
root, name = sys.argv[1:]
store = Store(root)
print(store.exists(f"{root}/ready"), flush=True)
sys.stdin.readline()
print([store.write(f"{root}/{n}", name.encode() * 1000, exclusive=True) for n in range(20)])
"""


def test_of_processes_one_writes(store: Store) -> None:
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, store.root, str(name)], stdin=pipe, stdout=pipe, text=True)
        for name in range(8)
    ]
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == "False\n"
    for writer in writers:
        assert writer.stdin and writer.stdin.write("go\n")
        writer.stdin.flush()
    won = [json.loads(writer.communicate()[0].lower()) for writer in writers]
    for n in range(20):
        assert [one[n] for one in won].count(True) == 1
        assert store.read(f"{store.root}/{n}") == str([one[n] for one in won].index(True)).encode() * 1000


def test_a_try_of_another_process_is_seen_at_once(store: Store) -> None:
    first = store.new_try("dag", "run", "task", -1, 1)
    assert store.latest_manifest("dag", "run", "task") is None
    other = [sys.executable, "-c", "import sys; from tradewind.store import Store; Store(sys.argv[1]).write(sys.argv[2], b'{}')"]
    subprocess.run([*other, store.root, f"{first}/spec.json"], check=True)
    assert store.tries(store.run_uri("dag", "run", "task", -1)) == [first]
    assert store.exists(f"{first}/spec.json")
    assert store.new_try("dag", "run", "task", -1, 1) == f"{store.run_uri('dag', 'run', 'task', -1)}/1-2"


def test_a_folder_goes_there_and_back(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("MLmodel", "code/a b.py", "code/ü[1]*.py", "deep/er/big.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100_000)
    uri = f"{store.root}/model"
    store.upload(folder, uri)
    (tmp_path / "back").mkdir()
    back = store.download(uri, tmp_path / "back")
    assert hash_folder(back) == hash_folder(folder)
    assert store.download(f"{uri}/MLmodel", tmp_path / "back").read_bytes() == (folder / "MLmodel").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        store.download(f"{store.root}/nowhere", tmp_path / "back")
    assert {file.uri.removeprefix(f"{uri}/") for file in store.files(uri)} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }
    store.delete(uri)
    assert store.files(uri) == []
    assert not store.exists(uri)


def test_a_reference_to_objects(store: Store) -> None:
    table = f"{store.root}/table"
    for n in range(3):
        store.write(f"{table}/part-{n}.parquet", b"%d" % n)
    whole, one = store.refer(table), store.refer(f"{table}/part-1.parquet")
    assert (whole.size, one.size) == (3, 1)
    assert whole.uri == table
    store.write(f"{table}/_SUCCESS", b"")
    assert store.refer(table) == whole
    store.write(f"{table}/part-1.parquet", b"x")
    assert store.refer(table).sha256 != whole.sha256
    assert store.refer(f"{table}/part-1.parquet").sha256 != one.sha256
    store.write(f"{table}/part-1.parquet", b"1")
    assert (store.refer(table), store.refer(f"{table}/part-1.parquet")) == (whole, one)
    with pytest.raises(StoreError, match=r"no file or folder at s3://tests/.*/nowhere"):
        store.refer(f"{store.root}/nowhere")


ASKED = """
import sys
from tradewind.errors import StoreError
from tradewind.store import Store
store = Store(sys.argv[1])
asked = {
    "read": lambda: store.read(f"{store.root}/x"), "write": lambda: store.write(f"{store.root}/x", b"1", exclusive=True),
    "names": lambda: store.names(store.root), "refer": lambda: store.refer(store.root), "files": lambda: store.files(store.root),
    "upload": lambda: store.upload(__import__("pathlib").Path(sys.executable).parent, store.root),
}
for name in sys.argv[2:] or asked:
    ask = asked[name]
    try:
        print("nothing", name, ask())
    except StoreError as error:
        print("again" if error.retryable else "never", name, error)
"""


@pytest.mark.parametrize(
    ("root", "environment", "retried", "said"),
    [
        ("s3://no-such-bucket/x", {}, "never", "there is no bucket 'no-such-bucket'"),
        ("s3://x/x", {}, "never", "'x'"),
        ("s3://tests/x", {"AWS_ACCESS_KEY_ID": "wrong"}, "never", "AWS_ACCESS_KEY_ID"),
        ("s3://tests/x", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "never", "AWS_SECRET_ACCESS_KEY"),
        ("s3://tests/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "again", "S3 at http://127.0.0.1:1 does not answer"),
        ("s3://tests/x", {"AWS_ENDPOINT_URL": "minio:9000"}, "never", "minio:9000"),
        ("s3x://tests/x", {}, "never", "nothing here reads s3x://"),
    ],
    ids=["bucket", "name", "key", "secret", "endpoint", "address", "kind"],
)
def test_what_is_wrong_is_said(s3: S3, root: str, environment: dict[str, str], retried: str, said: str) -> None:
    started = time.monotonic()
    some = ["read"] if retried == "again" else []  # each of these waits
    command = [sys.executable, "-c", ASKED, root, *some]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    print(done.stdout, done.stderr)
    assert len(lines) == (len(some) or 6)
    assert {line.split()[0] for line in lines} == {retried}
    assert all(root.removesuffix("/x") in line and said in line for line in lines)
    assert time.monotonic() - started < 60


SILENT = """
import sys
from tradewind import filesystems
from tradewind.store import Store
filesystems.S3_PATIENCE["read_timeout"] = 1  # else this test would take a minute
Store(sys.argv[1]).read(sys.argv[1] + "/x")
"""


def test_a_server_that_says_nothing_is_given_up(s3: S3) -> None:
    with socket.create_server(("127.0.0.1", free_port()), backlog=64) as silent:
        environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", SILENT, "s3://tests/x"], env=environment, capture_output=True, text=True)
    assert "does not answer" in done.stderr.splitlines()[-1]
    assert time.monotonic() - started < 30


def test_a_name_for_the_server_wants_no_name_for_each_bucket(s3: S3) -> None:
    port = s3.endpoint.rsplit(":", 1)[1]
    environment = {**os.environ, "AWS_ENDPOINT_URL_S3": f"http://localhost:{port}", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    code = (
        "from tradewind.store import Store; s = Store('s3://tests'); s.write('s3://tests/n', b'1'); print(s.read('s3://tests/n'))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "b'1'"


LOCAL = """
import sys
from tradewind.store import Store
store = Store(sys.argv[1])
store.put_content("a", b"1", "report")
print(store.files(store.root), store.names(store.root))
store.delete(store.root)
print([name for name in sys.modules if "s3" in name or "boto" in name or "aiohttp" in name])
"""


def test_a_folder_pays_nothing_for_s3(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCAL, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_first_manifest_wins_over_all_later_ones(store: Store) -> None:
    folder, together = store.new_try("dag", "run", "task", -1, 1), Barrier(WRITERS)

    def put(n: int) -> StepManifest:
        made = StepManifest(status="success", fingerprint=None, outputs={}, metrics={"n": n}, started_at="", ended_at="")
        together.wait()
        return store.put_manifest(folder, made)

    with ThreadPoolExecutor(WRITERS) as threads:
        got = {made.metrics["n"] for made in threads.map(put, range(WRITERS))}
    assert len(got) == 1
    assert store.get_manifest(f"{folder}/manifest.json").metrics["n"] in got
