"""The dossier: what it compares, what it pins, and that nothing in it comes alive."""

from __future__ import annotations

import dataclasses
import json
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from releases import CODE, COLUMNS, Releases

from tradewind.approval import page
from tradewind.approval.changes import changes, code_changes, flat, packages
from tradewind.approval.dossier import Dossier, check_compared, differences, gather
from tradewind.approval.word import still_approved
from tradewind.errors import ApprovalRefused, SpecError
from tradewind.registry import DATA_END_TAG, GATE_TAG, TRAINED_TAG, ModelVersion, model_tags
from tradewind.rollout.spec import RolloutSpec
from tradewind.store import MANIFEST, Store

HOSTILE = "<script>alert(1)</script>"


class Known:
    """A registry and a serving that know what a test says."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.versions: dict[str, ModelVersion] = {}
        self.champion: str | None = None
        self.kept: dict[str, Any] | None = None

    def add(self, version: str, asked: dict[str, Any]) -> dict[str, Any]:
        run = asked["gate"].split("/")[-5]
        trained = f"{self.store.run_uri('m', run, 'train', -1, 1)}/{MANIFEST}"
        model = self.store.get_manifest(trained).outputs["model"]
        tags = {**model_tags(model), TRAINED_TAG: trained, GATE_TAG: asked["gate"], DATA_END_TAG: "2026-01-01"}
        self.versions[version] = ModelVersion(name="m", version=version, tags=tags)
        return {**asked, "version": version}

    def version(self, name: str, version: str) -> ModelVersion:
        return self.versions[version]

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        return self.versions[self.champion] if self.champion else None

    def record(self, target: str) -> dict[str, Any] | None:
        return self.kept


@pytest.fixture
def known(store: Store) -> Known:
    return Known(store)


@pytest.fixture
def made(store: Store) -> Releases:
    return Releases(store, None, "m")


def of(known: Known, asked: dict[str, Any], **more: Any) -> Dossier:
    world: Any = known
    return gather(asked, registry=world, store=known.store, serving=world, **more)


def two(known: Known, made: Releases, **second: Any) -> dict[str, Any]:
    """A champion, version 1, and what the second version's register task said."""
    known.add("1", made.make("one"))
    known.champion = "1"
    return known.add("2", made.make("two", champion="1", champion_auc=0.7, auc=0.75, **second))


def test_what_changed_since_the_champion(known: Known, made: Releases) -> None:
    code = {
        **CODE,
        "train.py": CODE["train.py"].replace(b"return dataset", b"return 1"),
        "new.py": b"x = 1\n",
        "data.bin": b"\xff\1",
    }
    asked = two(
        known, made, code=code, columns={**COLUMNS, "distance": "int64"}, packages={"xgboost": "3.3.0"}, params={"trees": 20},
        rows=2000,
    )  # fmt: skip
    dossier = of(known, asked)
    assert dossier.code
    assert [(file.name, file.what) for file in dossier.code] == [
        ("data.bin", "changed"),
        ("new.py", "added"),
        ("train.py", "changed"),
    ]
    assert "-    return dataset" in dossier.code[2].lines
    assert "+    return 1" in dossier.code[2].lines
    assert dossier.code[0].lines == []
    assert [(c.name, c.before, c.after) for c in dossier.columns or []] == [("distance", "double", "int64")]
    assert [(c.name, c.before, c.after) for c in dossier.packages or []] == [("xgboost", "3.2.0", "3.3.0")]
    assert [(c.name, c.before, c.after) for c in dossier.settings or []] == [("train.params.trees", "10", "20")]
    text = page.page(dossier, known.store)
    for shown in (
        "+0.05",
        "validate: rows checked",
        "2,000",
        "+1,000",
        "train: peak memory, MB",
        "carrier = UA",
        *dossier.pins.values(),
    ):
        assert shown in text, shown
    short = page.body(dossier, link="http://a/b")
    assert "3 files, 1 setting, 1 package, 1 column changed" in short.replace("\\", "")
    assert "(http://a/b)" in short
    assert f"`{page.pinned_in_short(dossier)}`" in short
    assert page.pinned_in_short(dossier) in text


def test_how_far_answers_and_data_are_from_the_champions(known: Known, made: Releases) -> None:
    moved = {
        "column": HOSTILE, "type": ["string", "string"], "missing": [0.0, 0.25], "low": [None, None], "high": [None, None],
        "texts": [4, 11], "came": [7, ["Z<b>", "Y"]], "went": [0, []], "psi": 0.8125,
    }  # fmt: skip
    gone = {
        **moved, "column": "seats", "type": ["int64", None], "missing": [0.5, None], "low": [1.0, None], "high": [850.0, None],
        "texts": [None, None], "came": None, "went": None, "psi": None,
    }  # fmt: skip
    beside = {
        "differences": {"disagreement": 0.0375, "psi": 0.0125, "ks": 0.0625},
        "slices": [{"value": "UA", "rows": 90, "disagreement": 0.001}, {"value": "<AA>", "rows": 10, "disagreement": 0.3125}],
        "data": {"rows": [1000, 2000], "columns": [gone, moved]},
    }
    dossier = of(known, two(known, made, beside=beside))
    text = page.page(dossier, known.store)
    figures = ("0.0375", "0.0125", "0.0625", "0.3125", "0.8125", "25.00%", "int64: 1 to 850", "11 texts")
    for shown in (*figures, "not there", "Z&lt;b&gt;, Y and 5 more"):
        assert shown in text, shown
    assert text.index("&lt;AA&gt;") < text.index("0.001"), "those first where most answers differ"
    assert "<b>" not in text and HOSTILE not in text
    first = page.page(of(known, known.add("3", made.make("three"))), known.store)
    assert "Not known: the gate did not compare them." in first
    assert "learned from is gone" not in first, "a gate that did not compare has not seen why"
    same = page.page(
        of(known, known.add("4", made.make("four", beside={"data": {"rows": [5, 5], "columns": None}}))), known.store
    )
    assert "The 5 rows that the champion learned from" in same


def test_a_first_release_has_nothing_to_compare_with(known: Known, made: Releases) -> None:
    dossier = of(known, known.add("1", made.make("one")))
    assert (dossier.champion, dossier.code, dossier.packages, dossier.columns, dossier.settings) == (None,) * 5
    assert dossier.pins["champion"] == "none"
    assert "first release" in page.page(dossier, known.store).replace("\n", " ")
    assert "first release" in page.body(dossier, link="")


def test_what_the_champion_left_may_be_gone(known: Known, made: Releases) -> None:
    asked = two(known, made)
    known.store.delete(known.store.run_uri("m", "one"))
    dossier = of(known, asked)
    assert dossier.champion
    assert (dossier.code, dossier.packages, dossier.columns, dossier.settings) == (None,) * 4
    assert "Not known" in page.page(dossier, known.store)


def test_nobody_is_asked_by_figures_of_another_champion(known: Known, made: Releases) -> None:
    asked = two(known, made)
    check_compared(asked, of(known, asked))
    known.add("3", made.make("three", auc=0.9))
    known.champion = "3"
    with pytest.raises(ApprovalRefused, match=r"The champion of m is version 3, but the gate compared with 1: .*evaluate task"):
        check_compared(asked, of(known, asked))
    known.champion = None
    dossier = of(known, asked)
    check_compared(asked, dossier)
    auc = next(line for line in page.body(dossier, link="x").splitlines() if "auc" in line)
    assert "0.75" in auc.replace("\\", "") and "0.7 " not in auc.replace("\\", ""), "no champion has no figures"


def test_a_void_approval_does_not_look_like_one(known: Known, made: Releases) -> None:
    dossier = of(known, two(known, made))
    decision = {"approved": True, "by": "anna", "at": "2026-01-01", "why": "", "void": ["gate was a, is b"]}
    html = page.page(dossier, known.store, decision=decision)
    assert ">VOID<" in html and "gate was a, is b" in html
    assert ">APPROVED<" not in html
    assert ">APPROVED<" in page.page(dossier, known.store, decision={**decision, "void": []})
    assert ">REJECTED<" in page.page(dossier, known.store, decision={**decision, "approved": False})


def test_every_pin_counts(known: Known, made: Releases) -> None:
    """Each thing that is shown, changed on its own, is named."""
    asked = two(known, made)
    spec = RolloutSpec()
    before = of(known, asked, rollout=spec).pins
    assert {
        "version",
        "gate",
        "model",
        "training",
        "code of train",
        "environment of train",
        "environment of features",
    } < before.keys()
    assert {"dataset of features", "profile of features", "report of validate", "source validate.data"} < before.keys()
    assert {"champion", "champion's model", "rollout"} < before.keys()
    assert "version" in differences(before, {**before, "version": "3"})[0]

    def now(**more: Any) -> list[str]:
        return differences(before, of(known, asked, rollout=more.get("rollout", spec)).pins)

    assert now() == []
    assert now(rollout=RolloutSpec.from_dict({"steps": [{"weight": 10, "bake_s": 1}]}))[0].startswith("rollout was ")
    known.champion = None
    assert [line.split(" was ")[0] for line in now()] == ["champion", "champion's model"]
    known.champion = "1"
    for task, pin in (("train", "training"), ("evaluate", "gate"), ("features", "dataset of features")):
        uri = f"{known.store.run_uri('m', 'two', task, -1, 1)}/{MANIFEST}"
        kept = known.store.read(uri)
        known.store.write(
            uri, kept.replace(b'"size":100', b'"size":101').replace(b'"dataset","sha256":"', b'"dataset","sha256":"0')
        )
        assert pin in [line.split(" was ")[0] for line in now()], task
        known.store.write(uri, kept)
    assert now() == []


def test_a_gate_of_another_model_is_no_gate(known: Known, made: Releases) -> None:
    asked = two(known, made)
    with pytest.raises(SpecError, match=r"The gate judged the model with sha256 .* clear the evaluate"):
        of(known, {**asked, "gate": made.make("three", auc=0.9)["gate"]})
    with pytest.raises(SpecError, match="is gone: clear the evaluate task"):
        of(known, {**asked, "gate": f"{known.store.root}/nowhere"})


def test_the_rollout_holds_the_word_against_what_there_is(known: Known, made: Releases) -> None:
    asked = two(known, made)
    pins, spec, world = of(known, asked).pins, RolloutSpec(), known
    approval = {"by": "Anna", "by_id": "anna", "at": "2026-01-02", "why": "good", "pins": pins}
    arguments: dict[str, Any] = {"registry": world, "store": known.store, "serving": world, "rollout": spec}
    said = still_approved({**asked, "approval": approval}, **arguments)
    assert (said["approved"], said["approved_by_id"]) == ("approved by Anna: good", "anna")
    with pytest.raises(ApprovalRefused, match=r"void, what they saw has changed: rollout was 000000000000\.\.\., is "):
        pinned = {**pins, "rollout": "0" * 64}
        still_approved({**asked, "approval": {**approval, "pins": pinned}}, **arguments)
    known.champion = None
    with pytest.raises(ApprovalRefused, match=r"by Anna is void, what they saw has changed: champion was 1, is none"):
        still_approved({**asked, "approval": approval}, **arguments)
    with pytest.raises(ApprovalRefused, match="was the champion when its approval was asked for, and is not now"):
        still_approved({**asked, "approval": None}, **arguments)


class Tags(HTMLParser):
    """The elements of a page, and the text that is in none but the outermost."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs), attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))


def test_hostile_names_and_code_stay_text(known: Known, made: Releases) -> None:
    code = {"train.py": f"# </pre></span>{HOSTILE}<img src=x onerror=alert(1)>\n".encode(), f"{HOSTILE}.py": b"x\n"}
    asked = two(
        known, made, code=code, columns={**COLUMNS, HOSTILE: "string", "{{ 7 * 7 }}": "string"},
        slices={HOSTILE: 0.1, "a|b`*": 0.2}, packages={HOSTILE: "1"}, params={HOSTILE: f"|{HOSTILE}"},
    )  # fmt: skip
    dossier = of(known, asked)
    decision = {"approved": False, "by": HOSTILE, "at": "now", "why": f"</p>{HOSTILE}"}
    for text in (page.page(dossier, known.store), page.page(dossier, known.store, decision=decision)):
        tags = Tags(text)
        assert not tags.found & {"script", "img", "iframe", "a", "form", "input"}
        assert f"{HOSTILE}.py: added" in "".join(data for _, data in tags.texts)
        assert any(where == "span" and "</pre></span>" in data for where, data in tags.texts), "the comment is in its line"
        assert "{{ 7 * 7 }}" in text
    escaped = page.markdown(f"{HOSTILE} [x](javascript:1) `a` | b\n# c")
    assert "\n" not in escaped
    assert not any(f"{before}{mark}" in escaped for mark in "<>[]()`|#" for before in " a1xt")


def test_the_form_shows_no_words_of_the_data(known: Known, made: Releases) -> None:
    asked = two(known, made, columns={**COLUMNS, HOSTILE: "string"}, slices={HOSTILE: 0.1})
    short = page.body(of(known, asked), link="http://airflow/x")
    assert "script" not in short
    assert short.count("](") == 1


def test_a_diff_is_cut_and_says_so() -> None:
    [found] = code_changes({"a.py": b""}, {"a.py": b"".join(b"%d\n" % i for i in range(5000))})
    assert len(found.lines) == 1500
    assert found.cut == 3501


def test_a_long_table_is_named_and_not_compared_line_by_line() -> None:
    before, after = ("\n".join(str(row * step % 110) for row in range(20_000)).encode() for step in (7, 31))
    began = time.monotonic()
    (found,) = code_changes({"sample.csv": before}, {"sample.csv": after})
    assert time.monotonic() - began < 2
    assert (found.what, found.lines, found.cut) == ("changed", [], 0)


def test_small_parts() -> None:
    assert packages("a==1\nB==2 ; python_version > '3'\n# c\nd==3 \\\n") == {"a": "1", "b": "2", "d": "3"}
    assert flat({"a": {"b": 1, "c": {"d": [1]}}, "e": {}}) == {"a.b": 1, "a.c.d": [1], "e": {}}
    assert [dataclasses.astuple(c) for c in changes({"a": 1}, {"a": 1, "b": None, "c": 2})] == [("c", None, "2")]
    assert json.loads(json.dumps(page.figure(1234))) == "1,234"
