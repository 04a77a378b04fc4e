"""The registry against a real MLflow, and against what is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from live import linked_home, services

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.registry import CHALLENGER, CHAMPION, Registry, lineage_tags
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port

NAME = "it's late"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Registry]:
    home = linked_home(tmp_path_factory.mktemp("registry") / "home", environments)
    with services(home, home, "mlflow") as (_, at), Registry(at.mlflow) as found:
        yield found


@pytest.fixture(scope="module")
def runs(registry: Registry) -> list[tuple[str, str]]:
    """Training runs with a logged model each: ``(run id, model id)``."""
    experiment = registry._call("POST", "experiments/create", {"name": "test"})["experiment_id"]
    found = []
    for _ in range(2):
        run_id = registry._call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        asked = {"experiment_id": experiment, "name": "model", "source_run_id": run_id}
        found.append((run_id, registry._call("POST", "logged-models", asked)["model"]["info"]["model_id"]))
    return found


def test_a_run_becomes_one_version_whatever_the_models_name(registry: Registry, runs: list[tuple[str, str]]) -> None:
    for number, (run_id, model_id) in enumerate(runs, 1):
        first = registry.register(NAME, run_id=run_id, model_id=model_id, tags={"a": "b"})
        assert (first[0].version, first[0].tags, first[1]) == (str(number), {"a": "b"}, True)
        again, registered = registry.register(NAME, run_id=run_id, model_id=model_id, tags={"a": "b"})
        assert (again.version, registered) == (str(number), False)
    other, registered = registry.register("another", run_id=runs[0][0], model_id=runs[0][1], tags={})
    assert (other.version, registered) == ("1", True)


def test_a_champion_is_no_challenger(registry: Registry, runs: list[tuple[str, str]]) -> None:
    registry.set_alias(NAME, CHALLENGER, "2")
    for version, challenger in (("1", "2"), ("2", None)):
        registry.promote(NAME, version)
        champion, other = registry.by_alias(NAME, CHAMPION), registry.by_alias(NAME, CHALLENGER)
        assert champion and champion.version == version
        assert (other.version if other else None) == challenger
    for _ in range(2):
        registry.withdraw(NAME)
        assert registry.by_alias(NAME, CHAMPION) is None


def test_a_new_alias_is_set_by_several_at_once(registry: Registry, runs: list[tuple[str, str]]) -> None:
    at_once = 4

    def set_alias(alias: str, together: threading.Barrier) -> None:
        with Registry(registry.tracking_uri) as own:
            together.wait()
            own.set_alias(NAME, alias, "1")

    with ThreadPoolExecutor(at_once) as threads:
        for number in range(10):
            together = threading.Barrier(at_once)
            done = [threads.submit(set_alias, f"alias-{number}", together) for _ in range(at_once)]
            for one in done:
                one.result()
            found = registry.by_alias(NAME, f"alias-{number}")
            assert found and found.version == "1"


# -- release records, and what is searched ----------------------------------------------------------------------------

ODD = """it's "odd\""""  # both of the quotes that MLflow's filters know


@pytest.fixture(scope="module")
def released(registry: Registry) -> str:
    """A Dag with six versions of two models, and eight records: one version was taken back, one came back by hand."""
    for name in (ODD, "plain_model"):
        registry._call("POST", "registered-models/create", {"name": name})
        for number in (1, 2, 3):
            tags = lineage_tags(dag_id="found", run_id=f"{name[:2]}_run__{number}", trained="", gate="", data_end="")
            asked = {
                "name": name,
                "source": "s3://models/x",
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            }
            registry._call("POST", "model-versions/create", asked)
            note(registry, name, number, by="anna", why="")
    note(registry, "plain_model", 2, outcome="rolled back", by="anna_b", reason="100% of answers were O'Brien's\n", at=10)
    registry.note_release("plain_model", "hand", {
        "at": 11, "outcome": "released", "version": "1", "serves": "1", "before": "3", "by": "me", "why": "3 is slow",
        "reason": "", "rolled_back": "3",
    })  # fmt: skip
    registry.set_alias("plain_model", CHAMPION, "3")
    return "found"


def note(registry: Registry, name: str, version: int, *, outcome: str = "released", at: float = 0, **more: str) -> None:
    record = {"at": at or version, "outcome": outcome, "version": str(version), "serves": str(version), "before": None,
              "by": "", "why": "", "reason": "", **more}  # fmt: skip
    registry.note_release(name, f"{version} {at}", record)


def test_records_come_latest_first_and_once(registry: Registry, released: str) -> None:
    for name, expected in ((ODD, ["3", "2", "1"]), ("plain_model", ["1", "2", "3", "2", "1"]), ("nowhere", [])):
        assert [record["version"] for record in registry.releases(name)] == expected
    note(registry, "plain_model", 3, by="anna", why="said again")
    assert [record["why"] for record in registry.releases("plain_model")] == ["3 is slow", "", "said again", "", ""]
    assert registry.rolled_back("plain_model", "2") == "100% of answers were O'Brien's\n"
    assert registry.rolled_back("plain_model", "7") is registry.rolled_back(ODD, "3") is None
    assert registry.rolled_back("plain_model", "3") == "3 is slow"
    assert registry.rolled_back("plain_model", "1") is None


def test_a_dags_records_come_by_the_page(registry: Registry, released: str) -> None:
    page, found = "", []
    while True:
        records, page = registry.log.page(dag_id=released, limit=3, page=page)
        found += records
        if not page:
            break
        assert len(records) == 3
    assert [record["at"] for record in found] == sorted((record["at"] for record in found), reverse=True)
    assert {record["model"] for record in found} == {ODD, "plain_model"}
    assert registry.log.page(dag_id="another", limit=3) == ([], "")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", 8), ("PLAIN_model", 5), ("version 2", 3), ("anna_b", 1), ("rolled back", 1), ("o'brien's", 1), ("100%", 1), ("%", 1),
        ("odd\"", 3), ("annaXb", 0), ("plain_model anna", 4), ("--", 0), ("' OR 1=1", 0), ("\\", 0), ("ä;", 0), ("slow", 1),
    ],
)  # fmt: skip
def test_records_are_searched_by_words(registry: Registry, released: str, search: str, found: int) -> None:
    records, _ = registry.log.page(dag_id=released, limit=100, search=search)
    assert len(records) == found


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("plain", ["plain_model 3", "plain_model 2", "plain_model 1"]), ("2", ["2", "2"]), ("Version 2", ["2", "2"]),
        ("champ", ["plain_model 3"]), ("odd\"", ["3", "2", "1"]), ("pl_run__1", ["plain_model 1"]), ("plXrun", []),
        ("run", ["plain_model 3", "plain_model 2", "plain_model 1", "3", "2", "1"]), ("' OR 1=1", []), ("nothing", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_versions_are_searched(registry: Registry, released: str, search: str, found: list[str], limit: int) -> None:
    page, versions = "", []
    while True:
        got, page = registry.of_dag(released, limit=limit, page=page, search=search)
        versions += got
        if not page:
            break
    said = [f"{v.name} {v.version}" for v in versions]
    assert len(said) == len(set(said)) == len(found)
    if search in ("2", "Version 2"):
        assert {v.version for v in versions} == {"2"}
    elif found:
        assert all(one.endswith(expected) for one, expected in zip(said, found, strict=True)), said


def test_records_come_back_with_the_next_one_where_somebody_binned_their_experiment(registry: Registry, released: str) -> None:
    before = len(registry.releases("plain_model"))
    registry._call("POST", "experiments/delete", {"experiment_id": registry.log.make()})
    with Registry(registry.tracking_uri) as later:
        note(later, "plain_model", 4, at=99)
        assert len(later.releases("plain_model")) == before + 1


def test_what_is_not_there_is_none_or_named(registry: Registry, runs: list[tuple[str, str]]) -> None:
    assert registry.by_alias("nowhere", CHAMPION) is None
    assert registry.run_exists(runs[0][0])
    assert not registry.run_exists("0" * 32)
    with pytest.raises(SpecError, match="version=9"):
        registry.version(NAME, "9")


@pytest.mark.parametrize(
    ("status", "error"), [(200, SpecError), (403, SpecError), (429, RuntimeUnavailable), (502, RuntimeUnavailable)]
)
def test_another_program_at_mlflows_address_is_named(status: int, error: type[Exception]) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>Sign in</html>")

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with Registry(url) as registry, pytest.raises(error, match=f"{url}, .*{status}, expected JSON, got '<html>Sign in"):
            registry.by_alias("model", CHAMPION)
        server.shutdown()


def test_a_proxy_is_not_asked_for_this_machine(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with Registry(registry.tracking_uri) as direct:
        assert direct.by_alias("nowhere", CHAMPION) is None
    with Registry("http://mlflow.example.org") as proxied, pytest.raises(RuntimeUnavailable, match="Connection refused"):
        proxied.by_alias("nowhere", CHAMPION)


def test_nobody_at_mlflows_address_is_transient() -> None:
    with Registry(f"http://127.0.0.1:{free_port()}") as registry, pytest.raises(RuntimeUnavailable, match="does not answer"):
        registry.run_exists("0" * 32)
