"""The replay step: the same rows to the version that serves and to the one that wants to, and how far their answers differ.

Past the split: each version is asked at its own address, in turns, so that both see the machine in the same state. A verdict
is no error here.
"""

from __future__ import annotations

import http.client
import json
import logging
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tradewind.errors import ValidationFailed
from tradewind.rules import parse_rules
from tradewind_steps import gate
from tradewind_steps.replay.compare import Answers, compare
from tradewind_steps.step import Step, StepResult

log = logging.getLogger("tradewind")

_MIN_ROWS = 100
_MIN_SLICE_ROWS = 30
_LIMIT_S = 60


def run(step: Step) -> StepResult:
    """Params: ``rules``, ``champion`` and ``challenger``: ``{"version", "url"}``. Input: ``requests``, of an evaluate step."""
    rules = parse_rules(step.params["rules"], "replay")
    document = json.loads(step.input_path("requests").read_bytes())
    wanted = {rule.column for rule in rules if rule.column}
    if missing := wanted - document["slices"].keys():
        raise ValidationFailed(
            f"The replay's rules are about {', '.join(sorted(missing))}, but the evaluation's slices are "
            f"{', '.join(document['slices']) or 'none'}"
        )
    champion, challenger = ask(document["requests"], step.params["champion"]["url"], step.params["challenger"]["url"])
    measured = compare(champion, challenger, document["task"], document["slices"])
    judgement = gate.judge(rules, measured, None, min_rows=_MIN_ROWS, min_slice_rows=_MIN_SLICE_ROWS)
    log.info("%s on %d rows%s", judgement.verdict, measured.rows, "".join(f"\n  {reason}" for reason in judgement.reasons))
    facts = {
        "verdict": judgement.verdict,
        "reasons": judgement.reasons,
        "rows": measured.rows,
        **{name: measured.metrics[name] for name in measured.metrics},
        "rules": [
            {name: getattr(result, name) for name in ("rule", "value", "expected", "verdict")} for result in judgement.rules
        ],
        "champion": step.params["champion"]["version"],
        "challenger": step.params["challenger"]["version"],
    }
    from tradewind_steps.replay.report import report

    step.put_report("report", "replay.html", report(facts, measured, champion, challenger, document["task"]))
    return StepResult(metrics=facts)


def ask(requests: list[dict[str, Any]], champion_url: str, challenger_url: str) -> tuple[Answers, Answers]:
    """Both versions' answers, row by row. Who is asked first alternates."""
    clients = (_Client(champion_url), _Client(challenger_url))
    for number, request in enumerate(requests):
        rows = int(request["inputs"][0]["shape"][0])
        for client in clients if number % 2 == 0 else clients[::-1]:
            client.ask(request, rows)
    return clients[0].answers(), clients[1].answers()


class _Client:
    """Asks one version over one connection; an answer that is none counts as an error of all its rows."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_LIMIT_S)
        self._path = f"{parts.path}/infer"
        self._scores: list[np.ndarray] = []
        self._failed: list[np.ndarray] = []
        self._ms: list[float] = []
        self._said = ""

    def ask(self, request: dict[str, Any], rows: int) -> None:
        started = time.monotonic()
        scores: np.ndarray | None = None
        try:
            self._connection.request("POST", self._path, json.dumps(request), {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            text = response.read()
            if response.status == 200:
                scores = np.asarray(json.loads(text)["outputs"][0]["data"], dtype="float64").reshape(rows, -1)
            else:
                self._said = self._said or f"{response.status}: {text[:500].decode(errors='replace')}"
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            self._said = self._said or f"{type(error).__name__}: {error}"
            self._connection.close()
        self._ms.append((time.monotonic() - started) * 1000)
        self._failed.append(np.full(rows, scores is None))
        self._scores.append(np.full((rows, 1), np.nan) if scores is None else scores)

    def answers(self) -> Answers:
        self._connection.close()
        width = max((part.shape[1] for part in self._scores), default=1)
        parts = [part if part.shape[1] == width else np.full((len(part), width), np.nan) for part in self._scores]
        scores = np.concatenate(parts) if parts else np.empty((0, width))
        failed = np.concatenate(self._failed) if self._failed else np.empty(0, dtype=bool)
        if self._said:
            log.warning("%s failed: %s", self._path, self._said)
        return Answers(scores=scores, failed=failed | np.isnan(scores).all(axis=1), ms=np.array(self._ms), said=self._said)
