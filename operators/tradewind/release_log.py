"""Release records: which version served when, and why; asked for by the page, by text, the newest first.

Each is a run of one MLflow experiment. The tags of a registered model would be the obvious place, but MLflow gives those only all
at once, and all the model's versions with them: with 3,000 releases more than a second for the first twenty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tradewind.contract import to_json

EXPERIMENT = "tradewind.releases"
_MODEL, _DAG, _KEY = "tradewind.model_name", "tradewind.dag_id", "tradewind.release_key"
_VERSION, _BACK = "tradewind.version", "tradewind.rolled_back"
_RECORD, _TEXT = "tradewind.release", "tradewind.text"
_LONGEST = 1000  # characters of a text in a record: MLflow takes 8,000 in a tag
_MOST = 1000  # records that MLflow is asked for at once
_MOST_WORDS = 8
_NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"
_EXISTS = "RESOURCE_ALREADY_EXISTS"

_SPECIAL = re.compile(r"[^\w.:@/+-]")  # LIKE's own _ stands for any character

Call = Callable[..., dict[str, Any]]


def likes(subject: str, search: str) -> list[str]:
    """MLflow's conditions that ``subject`` has each word of ``search`` in it. They let more through where a word has a
    character that is special to a filter or to LIKE, which know no escape: `has_words` decides."""
    return [f"{subject} ILIKE '%{_SPECIAL.sub('_', word)}%'" for word in words(search)]


def words(search: str) -> list[str]:
    """What is searched for: up to eight words, in lower case."""
    return search.lower().split()[:_MOST_WORDS]


def has_words(text: str, search: str) -> bool:
    return all(word in text.lower() for word in words(search))


class ReleaseLog:
    """The records at one MLflow server.

    Args:
        call: a request to its REST interface, as `Registry` makes it.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._experiment, self._binned = "", False

    def make(self) -> str:
        """The experiment's id; it is made where it is not there, and brought back where somebody has put it into the bin."""
        if not self._found():
            self._call("POST", "experiments/create", {"name": EXPERIMENT}, missing=_EXISTS)
        elif self._binned:
            self._call("POST", "experiments/restore", {"experiment_id": self._experiment})
            self._binned = False
        return self._found()

    def note(self, name: str, key: str, record: dict[str, Any], *, dag_id: str) -> None:
        """Keep a record; the same key again replaces it. Who calls has the target's lock.

        Args:
            record: plain JSON; ``at``, ``outcome``, ``version``, ``serves``, ``before``, ``by``, ``why`` and more.
            dag_id: whose version it is; empty where that is not known.
        """
        record = {field: value[:_LONGEST] if isinstance(value, str) else value for field, value in record.items()}
        tags = {
            _MODEL: name, _DAG: dag_id, _KEY: key, _VERSION: str(record["version"]), _RECORD: to_json(record),
            _BACK: str(record.get("rolled_back") or ""), _TEXT: _text(name, record),
        }  # fmt: skip
        given = [{"key": tag, "value": value} for tag, value in tags.items()]
        experiment = self.make()
        there = self._of(experiment, name, key)
        if there:
            self._call("POST", "runs/log-batch", {"run_id": there[0]["info"]["run_id"], "tags": given})
            return
        at = int(1000 * float(record["at"]))
        title = f"{name} {record['version']} {record['outcome']}"
        asked = {"experiment_id": experiment, "run_name": title, "start_time": at, "tags": given}
        made = self._call("POST", "runs/create", asked)["run"]["info"]["run_id"]
        self._call("POST", "runs/update", {"run_id": made, "status": "FINISHED", "end_time": at})

    def page(self, *, dag_id: str, limit: int, page: str = "", search: str = "") -> tuple[list[dict[str, Any]], str]:
        """Records of a Dag's versions, each with its ``model``, and the next page's name; empty at the end.

        Args:
            page: as the call before gave it.
            search: words that are all in the record, or in the name of its model. A page may then be a short one.
        """
        while experiment := self._found():
            runs, page = self._runs(experiment, {_DAG: dag_id}, limit=limit, page=page, search=search)
            tags = [tags for run in runs if has_words((tags := _tags(run)).get(_TEXT, ""), search)]
            if tags or not page:
                return [{"model": found[_MODEL], **json.loads(found[_RECORD])} for found in tags], page
        return [], ""

    def of(self, name: str, key: str) -> dict[str, Any] | None:
        """The record that was kept under ``key``."""
        runs = self._of(experiment, name, key) if (experiment := self._found()) else []
        return json.loads(_tags(runs[0])[_RECORD]) if runs else None

    def each(self, name: str) -> Iterator[dict[str, Any]]:
        """All records of a model, the latest first."""
        page, experiment = "", self._found()
        while experiment:
            runs, page = self._runs(experiment, {_MODEL: name}, limit=_MOST, page=page)
            yield from (json.loads(_tags(run)[_RECORD]) for run in runs)
            if not page:
                return

    def last(self, name: str, version: str) -> dict[str, Any] | None:
        """The latest record in which a version came, or was taken back."""
        if not (experiment := self._found()):
            return None
        asked = [self._runs(experiment, {_MODEL: name, tag: version}, limit=1)[0] for tag in (_VERSION, _BACK)]
        found = [json.loads(_tags(run)[_RECORD]) for runs in asked for run in runs]
        return max(found, key=lambda record: float(record["at"]), default=None)

    def _of(self, experiment: str, name: str, key: str) -> list[dict[str, Any]]:
        return self._runs(experiment, {_MODEL: name, _KEY: key}, limit=1)[0]

    def _runs(
        self, experiment: str, tags: dict[str, str], *, limit: int, page: str = "", search: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        exact = [_equals(f"tags.`{tag}`", value) for tag, value in tags.items()]
        asked = {
            "experiment_ids": [experiment],
            "filter": " AND ".join([*exact, *likes(f"tags.`{_TEXT}`", search)]),
            "max_results": limit,
            "order_by": ["attributes.start_time DESC"],
        }
        found = self._call("POST", "runs/search", {**asked, **({"page_token": page} if page else {})})
        runs = [run for run in found.get("runs", []) if all(_tags(run).get(tag) == value for tag, value in tags.items())]
        return runs, found.get("next_page_token") or ""

    def _found(self) -> str:
        if not self._experiment:
            found = self._call("GET", "experiments/get-by-name", {"experiment_name": EXPERIMENT}, missing=_NOT_FOUND)
            self._experiment = str(found["experiment"]["experiment_id"]) if found else ""
            self._binned = bool(found) and found["experiment"].get("lifecycle_stage") == "deleted"
        return self._experiment


def _equals(subject: str, value: str) -> str:
    """MLflow's filters know no escape for a quote, but two kinds of it."""
    if "'" in value and '"' in value:
        return f"{subject} LIKE '{_SPECIAL.sub('_', value)}'"
    return f'{subject} = "{value}"' if "'" in value else f"{subject} = '{value}'"


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


def _text(name: str, record: dict[str, Any]) -> str:
    """What a search looks through: what the pages show of a record, and its run."""
    shown = [record.get(field) for field in ("outcome", "by", "why", "reason", "run_id")]
    numbers = [f"version {record[field]}" for field in ("version", "serves", "before", "rolled_back") if record.get(field)]
    return " ".join(str(part) for part in (name, *numbers, *shown) if part).lower()[: 7 * _LONGEST]
