"""What local serving keeps on disk, and the configuration that it writes for Envoy."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable, StoreError
from tradewind.serving.local import envoy_config, models
from tradewind.serving.local.envoy_config import Upstream
from tradewind.serving.local.files import State, VersionState, new_token, owned
from tradewind.serving.local.process import end_left_over, free_port, started_at
from tradewind.store import hash_folder

MODEL = ArtifactRef(uri="file:///m", sha256="ab", size=1, kind="model")


def test_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    state = State(port=8000, targets={"m": {"1": VersionState(MODEL, 100)}}, processes=[(7, 1.5)])
    state.write(tmp_path)
    assert State.read(tmp_path) == state
    assert State.read(tmp_path / "nothing") == State()


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2}', '{"schema": 1, "targets": {}, "processes": [], "unknown": 1}'])
def test_a_damaged_state_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StoreError, match=r"state\.json cannot be read"):
        State.read(tmp_path)


def test_a_disk_that_takes_nothing_is_named_and_the_old_state_stays(tmp_path: Path) -> None:
    State(port=1).write(tmp_path)
    too_long = State(runtime="x" * 100_000)
    limited = (
        "import resource, signal, sys; from pathlib import Path; from tradewind.serving.local.files import State\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "State(runtime=sys.argv[2]).write(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", limited, tmp_path, too_long.runtime], capture_output=True, text=True)
    assert "StoreError" in done.stderr and "File too large" in done.stderr
    assert State.read(tmp_path).port == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_the_token_is_new_each_time_and_only_the_owners(tmp_path: Path) -> None:
    first = new_token(tmp_path)
    assert new_token(tmp_path) != first
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_a_lock_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    hold = (
        "import sys, time; from pathlib import Path; from tradewind.serving.local.files import owned\n"
        "with owned(Path(sys.argv[1]), holder='run 1', timeout_s=0, what='m'):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        second = owned(path, holder="run 2", timeout_s=0.2, what="m")
        with pytest.raises(RuntimeUnavailable, match=r"m is held by run 1; waited 0\.2 s"), second:
            pass
        holder.kill()
        holder.wait()
        with owned(path, holder="run 2", timeout_s=1, what="m"):
            assert path.read_text() == "run 2"


def test_only_the_very_process_that_was_left_is_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as process:
        started = started_at(process.pid)
        assert started is not None
        assert not end_left_over(process.pid, started - 1)
        assert process.poll() is None
        assert end_left_over(process.pid, started)
        assert process.wait(5) == -9
    assert not end_left_over(process.pid, started)


def test_a_port_that_is_taken_is_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]
    wanted = free_port()
    assert free_port(wanted) == wanted


def test_a_free_port_is_given_to_nobody_else_until_its_server_is_there() -> None:
    """Not even to a connection: of 2,000 some would have one of 200 ports by chance."""
    kept = {free_port() for _ in range(200)}
    assert len(kept) == 200
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        for _ in range(2000):
            with socket.create_connection(server.getsockname()) as client, server.accept()[0]:
                assert client.getsockname()[1] not in kept
    for port in kept:
        with socket.create_server(("127.0.0.1", port)):
            pass


def model_folder(folder: Path) -> ArtifactRef:
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}")
    return ArtifactRef(uri=folder.as_uri(), sha256=hash_folder(folder), size=11, kind="model")


def test_a_copy_of_the_model_serves_when_the_store_loses_its_own(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    copy = models.fetch(tmp_path / "copies", model)
    (tmp_path / "model" / "MLmodel").unlink()
    assert models.fetch(tmp_path / "copies", model) == copy
    (copy / "MLmodel").write_text("changed")
    with pytest.raises(RolloutAborted, match=f"expected sha256 {model.sha256}, got "):
        models.fetch(tmp_path / "copies", model)


def test_a_disk_that_is_full_is_named_and_no_part_of_a_model_stays(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model_folder(folder)
    (folder / "weights").write_bytes(bytes(100_000))
    fetch = (
        "import resource, signal, sys; from pathlib import Path; from tradewind.contract import ArtifactRef\n"
        "from tradewind.serving.local.models import fetch\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "fetch(Path(sys.argv[1]), ArtifactRef(uri=sys.argv[2], sha256='0', size=1, kind='model'))"
    )
    done = subprocess.run([sys.executable, "-c", fetch, tmp_path / "copies", folder.as_uri()], capture_output=True, text=True)
    assert "StoreError" in done.stderr and "File too large" in done.stderr
    assert list((tmp_path / "copies").iterdir()) == []


def test_only_versions_with_a_share_are_routed_and_all_are_known() -> None:
    upstreams = [
        Upstream(target="a", version="1", port=5001, weight=90),
        Upstream(target="a", version="2", port=5002, weight=10),
        Upstream(target="b", version="1", port=5003, weight=0),
        Upstream(target="c", version="1", port=0, weight=100),
    ]
    routes = envoy_config.routes(upstreams, number="7")["resources"][0]["virtual_hosts"][0]["routes"]
    split = {r["match"]["path_separated_prefix"]: r["route"]["weighted_clusters"]["clusters"] for r in routes if "route" in r}
    assert split == {
        "/v2/models/a": [{"name": "a@1", "weight": 90}, {"name": "a@2", "weight": 10}],
        "/v2/models/c": [{"name": "c@1", "weight": 100}],
    }
    assert routes[-1]["direct_response"]["status"] == 404
    clusters = envoy_config.clusters(upstreams, number="7")["resources"]
    assert [cluster["name"] for cluster in clusters] == ["a@1", "a@2", "b@1"]


def test_statistics_are_read_from_what_envoy_says() -> None:
    counts = {"a@1": {"completed": 9, "5xx": 2, "active": 1}, "a@10": {"completed": 5}}
    counters = [{"name": f"cluster.{c}.upstream_rq_{n}", "value": v} for c, found in counts.items() for n, v in found.items()]
    times = {"a@1": [1, 2.5, 8, 9], "a@10": [None, None, None, None]}
    buckets = {"a@1": [{"lower_bound": 2.5, "width": 0.1, "count": 5}, {"lower_bound": 10, "width": 1, "count": 4}], "a@10": []}
    details = [
        {
            "name": f"cluster.{cluster}.upstream_rq_time", "totals": buckets[cluster], "intervals": [],
            "percentiles": [{"interval": None, "cumulative": ms} for ms in found],
        }
        for cluster, found in times.items()
    ]  # fmt: skip
    answer = {"stats": [*counters, {"histograms": {"supported_percentiles": [0, 50, 99, 99.9], "details": details}}]}
    first, tenth = (envoy_config.read_statistics(answer, cluster) for cluster in ("a@1", "a@10"))
    assert first == {"requests": 9, "errors": 2, "active": 1, "latency_ms": {"50": 2.5, "99": 8}, "latency": {"2.5": 5, "10": 4}}
    assert tenth == {"requests": 5, "errors": 0, "active": 0, "latency_ms": {}, "latency": {}}


def test_a_lock_is_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    with owned(tmp_path / "lock", holder="1", timeout_s=0, what="m"):
        started = time.monotonic()
        with pytest.raises(RuntimeUnavailable), owned(tmp_path / "lock", holder="2", timeout_s=0.3, what="m"):
            pass
        assert 0.3 <= time.monotonic() - started < 10
