"""Files that are not what they should be: each gets an error that names it, what was expected and what was found."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tradewind.runtimes.environments import Environments

Ask = Callable[..., list[Any]]
GOOD = "id,when,delay\n1,2013-01-01,5\n2,2013-01-02,NA\n3,2013-01-03,7.5\n"


@pytest.fixture(scope="session")
def ask(environments: Environments) -> Ask:
    """Put questions to `validate_probe`, which runs in the data environment."""
    probe = Path(__file__).with_name("validate_probe.py")

    def ask(*questions: list[Any]) -> list[Any]:
        done = subprocess.run(
            [environments.python("data"), probe], input=json.dumps(questions), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        answers: list[Any] = json.loads(done.stdout)
        return answers

    return ask


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return buffer.getvalue()


LONG = GOOD + "".join(f"{n},2013-01-01,{n % 7}\n" for n in range(4, 5000))
UNREADABLE: dict[str, tuple[bytes, list[str]]] = {
    "empty.csv": (b"", ["empty file"]),
    "blank.csv": (b"\xef\xbb\xbf\n \n", ["empty file"]),
    "header.csv": (b"id,when,delay\n", ["only a header of 3 columns", "'when'"]),
    "ragged.csv": (GOOD.encode() + b"4,2013-01-04\n5,2013-01-05,1\n", ["expected 3 columns", "got 2 in line 5", "4,2013-01-04"]),
    "cut.csv": (LONG.encode()[:-12], ["expected 3 columns", "got 2 in line 5000", "cut off"]),
    "twice.csv": (b"id,when,id\n1,2,3\n", ["each column name once", "'id'"]),
    "latin.csv": ("id,name\n1,Anna\n2,Jos\u00e9 L.\n".encode("latin-1"), ["UTF-8", "0xe9 in line 3", "Latin-1"]),
    "utf16.csv": (GOOD.encode("utf-16"), ["UTF-8", "UTF-16"]),
    "utf16le.csv": (GOOD.encode("utf-16-le"), ["UTF-8", "UTF-16"]),
    "binary.csv": (GOOD.encode() + b"9,\0,1\n", ["zero byte in line 5"]),
    "picture.csv": (b"\x89PNG\r\n\x1a\n" + bytes(64), ["PNG image"]),
    "page.csv": (b"<!DOCTYPE html><html><body>Not found</body></html>", ["HTML", "Not found"]),
    "object.csv": (b'{"id": 1}', ["JSON"]),
    "objects.csv": (b'{"id": 1, "x": 2}\n{"id": 2, "x": 3}\n', ["JSON"]),
    "pretty.csv": (b'[\n {"id": 1, "x": 2},\n {"id": 2,\n  "x": 3}\n]\n', ["JSON"]),
    "cut_object.csv": (b'{"rows": [\n {"id": 1, "x": 2},\n {"id": 2', ["JSON"]),
    "ragged_brackets.csv": (b"[id],x\n1,2\n3\n", ["expected 2 columns ('[id]', 'x')", "got 1 in line 3"]),
    "columns.orc": (b"ORC" + bytes(range(16)), ["ORC file"]),
    "moving.gif": (b"GIF89a" + bytes(16), ["GIF image"]),
    "packed.csv.bz2": (bz2.compress(LONG.encode()), ["bzip2 archive"]),
    "flights.db": (b"SQLite format 3\0" + bytes(16), ["SQLite database"]),
    "paper.pdf": (b"%PDF-1.7\n", ["PDF"]),
    "cut.csv.gz": (gzip.compress(LONG.encode())[:-20], ["whole gzip file"]),
    "cut.csv.zip": (zipped(a=LONG)[:-40], ["whole zip file"]),
    "hurt.csv.zip": (zipped(a=LONG)[:100] + b"XXXXXXXX" + zipped(a=LONG)[108:], ["whole zip file"]),
    "two.csv.zip": (zipped(a=GOOD, b=GOOD), ["one file", "got 2", "'b.csv'"]),
    "none.csv.zip": (zipped(), ["one file", "got 0"]),
    "cut.parquet": (b"PAR1" + bytes(100), ["whole Parquet"]),
}


def test_unreadable_files_are_named_with_expected_and_got(ask: Ask, tmp_path: Path) -> None:
    for name, (data, _) in UNREADABLE.items():
        (tmp_path / name).write_bytes(data)
    for name, data in (("mixed", b"not parquet"), ("hollow", None)):
        (tmp_path / name).mkdir()
        if data:
            (tmp_path / name / "notes.txt").write_bytes(data)
    wanted = {name: said for name, (_, said) in UNREADABLE.items()}
    wanted |= {"mixed": ["notes.txt", "not Parquet"], "hollow": ["empty folder"], "gone.csv": ["no file or folder"]}

    answers = dict(zip(wanted, ask(*[["read", str(tmp_path / name)] for name in wanted]), strict=True))

    for name, said in wanted.items():
        assert answers[name].get("error") == "ValidationFailed", (name, answers[name])
        for part in [name, *said]:
            assert part in answers[name]["message"], (name, answers[name]["message"])


def test_a_file_is_what_its_first_bytes_say(ask: Ask, tmp_path: Path) -> None:
    files = {
        "plain.csv": GOOD.encode(),
        "marked.csv": b"\xef\xbb\xbf" + GOOD.encode(),
        "windows.csv": GOOD.replace("\n", "\r\n").encode(),
        "packed.csv.gz": gzip.compress(GOOD.encode()),
        "packed.csv.zip": zipped(a=GOOD),
        "packed.csv": gzip.compress(GOOD.encode()),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    quoted = tmp_path / "quoted.csv"
    quoted.write_text('"a, or b","<script>"\n"1\n2","caf\u00e9 ""x"""\n', encoding="utf-8")

    *answers, odd = ask(*[["read", str(tmp_path / name)] for name in files], ["read", str(quoted)])

    assert answers == [{"rows": 3, "columns": ["id", "when", "delay"], "first": ["1", "2013-01-01", "5"]}] * len(files)
    assert odd == {"rows": 1, "columns": ["a, or b", "<script>"], "first": ["1\n2", 'caf\u00e9 "x"']}


@pytest.mark.parametrize(
    "header", ["ORCID", "GIF89a_size", "BZh level", "SQLite format 3", "%PDF share", "[id]", "{id}", "[1]", "Obj"]
)
def test_a_header_may_begin_like_another_format(ask: Ask, tmp_path: Path, header: str) -> None:
    (tmp_path / "good.csv").write_text(f"{header},x\n7,8\n")
    assert ask(["read", str(tmp_path / "good.csv")]) == [{"rows": 1, "columns": [header, "x"], "first": ["7", "8"]}]


def test_cells_stay_as_written_below_an_empty_first_line(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "blank.csv").write_text("\n\r\nid,when\n007,2013-01-01\n")
    [answer] = ask(["read", str(tmp_path / "blank.csv")])
    assert answer == {"rows": 1, "columns": ["id", "when"], "first": ["007", "2013-01-01"]}


def test_cells_are_cast_and_the_bad_ones_are_known(ask: Ask) -> None:
    ints, floats, huge, bools, dates, iso, code, whole, real, text, long, beside, endless, exact = ask(
        ["cast", ["1", None, " 2 ", "3.0", "abc", "4.5", "inf", "12,5"], "int"],
        ["cast", ["1", None, " 2.5", "x", "inf", "1e3"], "float"],
        ["cast", ["9007199254740993", "99999999999999999999", "x"], "int"],
        ["cast", ["true", "FALSE", "1", None, "maybe"], "bool"],
        ["cast", ["2013-01-31", "2013-13-01", "01/02/2013", None], "time", "%Y-%m-%d"],
        ["cast", ["2013-01-31T10:00:00+02:00", "2013-01-31", "soon"], "time"],
        ["infer", ["007", "12"]],
        ["infer", ["7", None]],
        ["infer", ["7", "1.5"]],
        ["infer", ["7", "x"]],
        ["infer", ["12345678901234567890", "12345678901234567891"]],
        ["infer", ["9007199254740993", "1.5", None]],
        ["infer", ["9" * 400]],
        ["infer", ["10000000000000000000", "1.5"]],
    )
    assert ints["bad"] == [4, 5, 6, 7]
    assert ints["values"][:4] == ["1", "None", "2", "3"]
    assert floats["bad"] == [3]
    assert floats["values"] == ["1.0", "None", "2.5", "None", "inf", "1000.0"]
    assert huge["bad"] == [1, 2]
    assert huge["values"][0] == "9007199254740993"
    assert (bools["bad"], bools["values"][:3]) == ([4], ["True", "False", "True"])
    assert (dates["bad"], dates["values"][0]) == ([1, 2], "2013-01-31 00:00:00+00:00")
    assert (iso["bad"], iso["values"][0]) == ([2], "2013-01-31 08:00:00+00:00")
    assert (code, whole, real, text) == ("string", "int64", "double", "string")
    assert (long, beside, endless, exact) == ("string", "string", "string", "double")


def test_an_expectations_file_that_cannot_be_used_is_named(ask: Ask, tmp_path: Path) -> None:
    between, of_type = "expect_column_values_to_be_between", "expect_column_values_to_be_of_type"
    date_format = "expect_column_values_to_match_strftime_format"

    def one(kind: Any, **kwargs: Any) -> str:
        return json.dumps({"expectations": [{"type": kind, "kwargs": kwargs}]})

    cases: dict[str, tuple[str, list[str]]] = {
        "cut": ('{"expectations": [', ["expected JSON", "line 1"]),
        "list": ("[]", ["Great Expectations 1.x"]),
        "none": ('{"expectations": []}', ["at least one"]),
        "unknown": (one("expect_no_such_thing"), ["expectation 1", "knows no 'expect_no_such_thing'"]),
        "argument": (one(between, column="x", minimum=3), ["expectation 1", between, "minimum"]),
        "column": (one(between, column=7, min_value=1), ["expectation 1", "column", "str"]),
        "lacking": (one("expect_column_values_to_be_in_set", column="x"), ["expectation 1", "value_set"]),
        "number": (one(5), ["expectation 1"]),
        "kwargs": ('{"expectations": [{"type": "expect_column_to_exist", "kwargs": [1]}]}', ["expectation 1"]),
        "extra": ('{"expectations": [{"type": "expect_column_to_exist", "kwarg": {}}]}', ["expectation 1"]),
        "old": ('{"expectations": [{"expectation_type": "expect_column_to_exist"}]}', ["0.x"]),
        "parameter": (one(between, column="x", min_value={"$PARAMETER": "low"}), ["parameter low"]),
        "type": (one(of_type, column="x", type_="quaternion"), ["int64, float64", "quaternion"]),
        "mostly": (one(of_type, column="x", type_="int64", mostly=0.5), ["'mostly'"]),
        "format": (one(date_format, column="x", strftime_format="%Y-%Q"), ["Q"]),
    }
    two = [{"type": of_type, "kwargs": {"column": "x", "type_": kind}} for kind in ("int64", "str")]
    cases["both"] = (json.dumps({"expectations": two}), ["one type for 'x'", "a whole number and text"])
    for name, (text, _) in cases.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "good.json").write_text(one(between, column="x", min_value=1))

    *answers, good, gone = ask(*[["rules", str(tmp_path / f"{name}.json")] for name in [*cases, "good", "gone"]])

    for (name, (_, said)), answer in zip(cases.items(), answers, strict=True):
        for part in ["SpecError", f"{name}.json", *said]:
            assert part in answer, (name, answer)
    assert good == [f"{between}(x)", f"{of_type}(x)"]  # a column compared with a number holds numbers
    assert gone.startswith("SpecError: There is no expectations file 'gone.json'")


def test_a_content_hash_tells_rows_and_schema_and_nothing_else(ask: Ask, tmp_path: Path) -> None:
    found, crowd = ask(["hashes", str(tmp_path / "table")], ["many_rules", 80])
    assert len(set(found["same"])) == 1
    assert len({found["same"][0], *found["other"], found["typed"]}) == 7

    assert crowd["columns"] == ["tradewind_row", "tradewind_row_", "tradewind_rules", "tradewind_reasons"]
    assert crowd["rules"][0] == "r0"
    assert crowd["rules"][79] == "; ".join(f"r{n}" for n in range(80))
    assert crowd["rows"] == list(range(1, 81))
