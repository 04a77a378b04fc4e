"""The report: one HTML page that needs no network, our summary above Great Expectations' own Data Docs.

It shows what strangers wrote into a file: every value is escaped, and the page's own policy lets no script run and
nothing load.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaSectionView
from jinja2 import Environment, PackageLoader, StrictUndefined

from tradewind.contract import to_json
from tradewind_steps.validate.judging import Judgement
from tradewind_steps.validate.suite import Anomaly

TITLES: dict[Anomaly, str] = {
    "missing": "Missing values",
    "not_a_number": "Text in a number column",
    "date_formats": "Several date formats in one field",
    "conflicting_ids": "One identifier for different records",
}
_LONGEST = 200
_SPECIAL = "<>&\"'$`{}[]*\\"
_HIDE = {ord(character): 0xE000 + n for n, character in enumerate(_SPECIAL)}  # private use: no meaning anywhere
_SHOW = {0xE000 + n: f"&#{ord(character)};" for n, character in enumerate(_SPECIAL)}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A few rows that break one rule: the numbers in the source, and the cells, the rule's columns first."""

    rule: str
    reason: str
    count: int
    columns: list[str]
    marked: list[str]
    rows: list[tuple[int, list[str | None]]]


def html(summary: dict[str, Any], examples: Mapping[Anomaly, list[Example]], judgements: list[Judgement], suite_name: str) -> str:
    """The whole page."""
    environment = Environment(loader=PackageLoader("tradewind_steps.validate", "."), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        examples=examples,
        titles=TITLES,
        judgements=judgements,
        sections=_data_docs(judgements, suite_name),
        style=resources.files("tradewind_steps").joinpath("report.css").read_text(encoding="utf-8"),
    )


def plain(value: Any) -> Any:
    """``value`` as JSON can say it: NaN and infinity as text, NumPy's and pandas' scalars as Python's."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def cell(value: Any) -> str | None:
    """A cell as the report shows it."""
    if value is None:
        return None
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def json_text(summary: dict[str, Any]) -> str:
    return to_json(plain(summary))


def _data_docs(judgements: list[Judgement], suite_name: str) -> list[str]:
    """Great Expectations' sections: the rules on the table, then one section per column."""
    passed = sum(j.passed for j in judgements)
    outcome = ExpectationSuiteValidationResult(
        success=passed == len(judgements),
        results=[_hidden(j.result) for j in judgements],
        suite_name=suite_name,
        statistics={
            "evaluated_expectations": len(judgements),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(judgements) - passed,
            "success_percent": 100 * passed / len(judgements),
        },
        meta={},
    )
    document = ValidationResultsPageRenderer().render(outcome).to_json_dict()
    view = DefaultJinjaSectionView()
    # The first section says what our summary says, with links into a site that is not there.
    sections = enumerate(document["sections"][1:], 1)
    pages = [view.render({"section": section, "section_loop": {"index": n}}).translate(_SHOW) for n, section in sections]
    return [re.sub(r"\s*\n\s*", "\n", page) for page in pages]


def _hidden(result: ExpectationValidationResult) -> ExpectationValidationResult:
    """A copy in which no string holds a character that HTML or a template gives a meaning.

    Great Expectations escapes some of what it shows and not the rest: what it never sees it cannot show raw.
    """
    config = result.expectation_config
    assert config is not None
    return ExpectationValidationResult(
        success=result.success,
        expectation_config=ExpectationConfiguration(
            type=config.type, kwargs=_hide(config.kwargs), notes=_hide(config.notes), description=_hide(config.description)
        ),
        result=_hide(result.result),
        exception_info=_hide(result.exception_info),
        meta={},
    )


def _hide(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hide(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_hide(item) for item in value]
    if isinstance(value, str):
        return (value if len(value) <= _LONGEST else value[:_LONGEST] + "…").translate(_HIDE)
    if hasattr(value, "item"):  # NumPy's scalars, which Great Expectations' renderer does not take
        return _hide(value.item())
    return value
