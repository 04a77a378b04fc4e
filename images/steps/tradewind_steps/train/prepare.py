"""From the dataset's files to what the user's function is given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from tradewind.errors import SpecError, ValidationFailed
from tradewind_steps import split as splits
from tradewind_steps.checkpoint import Checkpoint
from tradewind_steps.dataset import (
    Dataset,
    Part,
    class_list,
    encode,
    features_of,
    need_columns,
    plain,
    read_table,
    recognise_task,
)
from tradewind_steps.step import Step


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The dataset, with how it was split and over which time."""

    dataset: Dataset
    split: splits.Split
    time_column: str | None
    start: str | None
    end: str | None

    def for_user(self, checkpoint: Checkpoint | None = None) -> Dataset:
        """The same rows in tables of the user's own: what is done to them does not reach ours (nothing is copied)."""
        train, holdout = (
            Part(X=part.X.copy(deep=False), y=part.y.copy(deep=False)) for part in (self.dataset.train, self.dataset.holdout)
        )
        return replace(self.dataset, train=train, holdout=holdout, checkpoint=checkpoint)


def prepare(step: Step) -> Prepared:
    """Read, check, split.

    Raises:
        ValidationFailed: a column is missing or of a wrong type, the label has nothing to learn from, too few rows.
        SpecError: the label is the time column, or the holdout's share is no share.
    """
    params = step.params
    label, time_column, holdout = params["label"], params.get("time_column"), float(params.get("holdout", 0.2))
    exclude = list(params.get("exclude") or [])
    if label == time_column:
        raise SpecError(f"label and time_column are both {label!r}")
    if not 0 < holdout < 1:
        raise SpecError(f"holdout: expected a share between 0 and 1, got {holdout:g}")
    frame = read_table(step.input_path("dataset"))
    need_columns(frame, [label], "label")
    need_columns(frame, exclude, "exclude")
    times = None
    if time_column:
        need_columns(frame, [time_column], "time_column")
        frame, times = until(frame, time_column, step.spec.as_of)
    task = recognise_task(frame[label], params.get("task"))
    features = [name for name in frame.columns if name not in {label, time_column, *exclude}]
    if not features:
        raise ValidationFailed(f"No features: all columns ({', '.join(frame.columns)}) are label, time or excluded")
    held, split = splits.by_time(times, holdout) if times is not None else splits.by_content(frame, holdout)
    if held.all() or not held.any():
        raise ValidationFailed(
            f"{len(frame)} rows are too few to hold a share of {holdout:g} back: it would be {int(held.sum())} rows"
        )
    dataset = _dataset(frame, held, label, task, features)
    start, end = (splits.iso(times.min()), splits.iso(times.max())) if times is not None else (None, None)
    return Prepared(dataset=dataset, split=split, time_column=time_column, start=start, end=end)


def until(frame: pd.DataFrame, time_column: str, as_of: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """The rows before ``as_of``, if that is given, and their instants."""
    times = splits.instants(frame[time_column])
    if as_of is None:
        return frame, times
    known = times < pd.to_datetime(as_of, utc=True)
    if not known.any():
        raise ValidationFailed(f"No rows before {as_of}: the first is of {splits.iso(times.min())}")
    return frame[known], times[known]


def _dataset(frame: pd.DataFrame, held: pd.Series, label: str, task: str, features: list[str]) -> Dataset:
    table = features_of(frame, features)
    learned = frame.loc[~held, label]
    if task != "regression" and learned.nunique() < 2:
        raise ValidationFailed(f"Label {label!r}: all {len(learned)} rows to learn from are of class {plain(learned.iloc[0])!r}")
    classes = [] if task == "regression" else class_list(learned)
    return Dataset(
        train=Part(X=table[~held], y=encode(learned, task, classes, "train")),
        holdout=Part(X=table[held], y=encode(frame.loc[held, label], task, classes, "holdout")),
        label=label,
        features=features,
        task=task,
        classes=classes,
    )
