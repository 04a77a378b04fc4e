from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tradewind.errors import ValidationFailed
from tradewind_steps.split import Split, by_content, by_time, held_back, instants, not_comparable

HOURS = pd.Series(pd.Timestamp("2013-01-01T00:00:00Z") + pd.to_timedelta(np.arange(100) // 2, unit="h"), name="at")


def table(rows: int = 2000) -> pd.DataFrame:
    chance = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "n": np.arange(rows),
            "x": chance.normal(size=rows),
            "text": np.array(["a", "b", "ü"])[np.arange(rows) % 3],
            "yes": np.arange(rows) % 2 == 0,
        }
    )


def test_the_last_rows_by_time_are_held_back() -> None:
    held, split = by_time(HOURS.sample(frac=1, random_state=0), 0.25)
    assert held.sum() == 26, "75 of 100 rows fall between two of the same hour: both are held back"
    assert split.boundary == "2013-01-02T13:00:00.000000Z"
    assert (split.train_start, split.train_end) == ("2013-01-01T00:00:00.000000Z", "2013-01-02T12:00:00.000000Z")
    again = held_back(pd.DataFrame({"at": HOURS}), Split.from_dict(split.to_dict()), "at")
    pd.testing.assert_series_equal(again, held.sort_index(), check_names=False)


def test_one_instant_never_straddles_the_boundary() -> None:
    times = pd.Series(pd.to_datetime(["2013-01-01"] * 9 + ["2013-01-02"], utc=True), name="at")
    held, split = by_time(times, 0.5)
    assert held.tolist() == [False] * 9 + [True]
    assert split.boundary == "2013-01-02T00:00:00.000000Z"
    with pytest.raises(ValidationFailed, match="all 9 rows are of 2013-01-01"):
        by_time(times[:9], 0.5)


@pytest.mark.parametrize(
    "column", [["2013-01-01T05:00:00-05:00", "2013-01-01T11:00:00Z"], pd.to_datetime(["2013-01-01T10:00", "2013-01-01T11:00"])]
)
def test_what_is_a_time(column: object) -> None:
    found = instants(pd.Series(column, name="at"))
    assert found.dt.hour.tolist() == [10, 11]


@pytest.mark.parametrize(
    ("column", "message"),
    [([1, 2], "got numbers"), (["2013-01-01", None], "1 of 2 rows have no time"), (["soon", "now!"], "ISO 8601")],
)
def test_what_is_no_time(column: list[object], message: str) -> None:
    with pytest.raises(ValidationFailed, match=message):
        instants(pd.Series(column, name="at"))


def test_a_row_stays_on_its_side_whatever_else_changes() -> None:
    rows = table()
    held, split = by_content(rows, 0.2)
    assert 0.17 < held.mean() < 0.23
    more = pd.concat([rows, pd.DataFrame({"n": [None], "x": [None], "text": [None], "yes": [None]})], ignore_index=True)
    shuffled = more.sample(frac=1, random_state=0)[["yes", "text", "x", "n"]]
    again = held_back(shuffled, Split.from_dict(split.to_dict()), None).sort_index()
    assert again[: len(rows)].tolist() == held.tolist()
    other, _ = by_content(rows.assign(n=rows.n + 1), 0.2)
    assert other.tolist() != held.tolist()


def test_copies_of_a_row_are_on_one_side_unless_they_are_all_that_there_is() -> None:
    rows = table()
    doubled, _ = by_content(pd.concat([rows, rows], ignore_index=True), 0.2)
    assert doubled[: len(rows)].tolist() == doubled[len(rows) :].tolist() == by_content(rows, 0.2)[0].tolist()

    few = pd.DataFrame({"class": ["1st", "2nd", "3rd"], "late": [0, 1, 1]}).sample(3000, replace=True, random_state=0)
    held, split = by_content(few.reset_index(drop=True), 0.3)
    assert 0.22 < held.mean() < 0.38
    assert set(few["class"][held.to_numpy()]) == {"1st", "2nd", "3rd"}
    shuffled = few.sample(frac=1, random_state=1)
    again = held_back(shuffled, split, None)
    assert (shuffled[again].value_counts() == few[held.to_numpy()].value_counts()).all(), "copies take each other's places"


def test_a_larger_share_holds_the_same_rows_and_more() -> None:
    small, _ = by_content(table(), 0.1)
    large, _ = by_content(table(), 0.3)
    assert not (small & ~large).any()


def split_by_time(end: str, boundary: str = "2013-06-01", start: str = "2013-01-01") -> Split:
    return Split(kind="time", holdout=0.2, boundary=boundary, train_start=start, train_end=end)


def test_a_champion_may_not_know_the_holdout() -> None:
    challenger = split_by_time("2013-05-31")
    assert not_comparable(split_by_time("2013-05-31"), challenger, "2013-07-01") is None
    assert "knows some of these rows" in str(not_comparable(split_by_time("2013-06-01"), challenger, "2013-07-01"))
    assert not_comparable(split_by_time("2014-12-31", start="2014-01-01"), challenger, "2013-07-01") is None
    hashed = Split(kind="hash", holdout=0.2, columns=("a", "b"))
    assert "split by content, the challenger's by time" in str(not_comparable(hashed, challenger, "2013-07-01"))
    assert not_comparable(hashed, hashed, None) is None
    assert not_comparable(Split(kind="hash", holdout=0.3, columns=("a", "b")), hashed, None) is None
    assert "held back a share of 0.1" in str(not_comparable(Split(kind="hash", holdout=0.1, columns=("a", "b")), hashed, None))
    assert "(c differ)" in str(not_comparable(Split(kind="hash", holdout=0.2, columns=("a", "b", "c")), hashed, None))
