"""``python -m tradewind_steps.draft FILE TARGET``: one line of JSON on standard output, in a process of the data environment.

``{"table": {...}, "expectations": {...}, "said": [...], "rows": N}``: what a pipeline's ``table.json`` and
``expectations.json`` hold, and what a person should know. ``{"error": {"type", "message"}}`` and exit code 1 where the file
cannot be read or the target cannot be learned.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tradewind.errors import TradewindError, ValidationFailed
from tradewind_steps.draft import suite
from tradewind_steps.draft.kinds import recognise
from tradewind_steps.draft.roles import assign, knobs, reads_as_value
from tradewind_steps.draft.target import read_target
from tradewind_steps.validate.reading import read_table

_SPARK_CANNOT = ("time32", "time64", "duration", "month_day_nano")


def look_at(path: Path, target_name: str) -> dict[str, Any]:
    """The draft for one file.

    Raises:
        ValidationFailed: it cannot be read as a table, or no model can learn the target.
    """
    table = read_table(path)
    folded: dict[str, str] = {}
    for name in table.column_names:
        other = folded.setdefault(name.lower(), name)
        if other != name:
            raise ValidationFailed(f"{path.name}: the columns {other!r} and {name!r} are one to Spark: rename one of them")
    for field in table.schema:
        if str(field.type).startswith(_SPARK_CANNOT):
            raise ValidationFailed(f"{path.name}: column {field.name!r} is {field.type}, which Spark does not read: leave it out")
    if reads_as_value(target_name):
        raise ValidationFailed(f"Target {target_name!r}: expected a name that does not read as a number or a template: rename it")
    columns = [recognise(name, table[name]) for name in table.column_names]
    target = read_target(columns, target_name)
    roles = assign(columns, target)
    if not (roles.numbers or roles.categories or roles.texts or roles.dates):
        raise ValidationFailed(f"{path.name}: no column to learn {target_name!r} from: " + "; ".join(roles.said))
    return {
        "table": knobs(target, roles),
        "expectations": suite.draft(columns, target, roles, name=path.name.split(".")[0]),
        "said": roles.said,
        "rows": table.num_rows,
    }


def main() -> int:
    answer, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    try:
        found, code = look_at(Path(sys.argv[1]), sys.argv[2]), 0
    except TradewindError as error:
        found, code = {"error": {"type": type(error).__name__, "message": str(error)}}, 1
    except (ArithmeticError, ValueError) as error:  # numbers that no rule can be made of
        what = f"{sys.argv[1]}: a column cannot be described ({error}): are there infinite or very large numbers?"
        found, code = {"error": {"type": "ValidationFailed", "message": what}}, 1
    answer.write(json.dumps(found, ensure_ascii=False, allow_nan=False, default=str) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
