"""The Dag templates that come with the package, and copies of them."""

from __future__ import annotations

import ast
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tradewind.cli.itself import command
from tradewind.errors import SpecError
from tradewind.resources import data_path

TABLE = "table.json"  # a template that has one can be fitted to any table
SAMPLE = "sample.csv"  # what such a template learns from as it stands
_IGNORED = ("__pycache__", ".*", "*.pyc")


def templates() -> dict[str, str]:
    """By name, what each does: the first line of its ``dag.py``. A Dag that reads no table of one's own is no template."""
    found = sorted(path.parent for path in data_path("dags").glob("*/expectations.json"))
    return {folder.name: (ast.get_docstring(ast.parse((folder / "dag.py").read_text())) or "").split("\n")[0] for folder in found}


def template(name: str) -> Path:
    """The folder of a template; SpecError with those that there are."""
    if name not in templates():
        raise SpecError(f"There is no template {name!r}; there are: {', '.join(templates())} ({command()} init --list)")
    return data_path("dags") / name


def fits_any_table(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def json_text(document: Mapping[str, Any]) -> str:
    """A document as people edit it: a line for each entry of the first level, and of the lists and objects in it."""

    def lines(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n    " + ",\n    ".join(_flat(item) for item in value) + "\n  ]"
        if isinstance(value, dict) and value:
            return "{\n    " + ",\n    ".join(f"{_flat(key)}: {_flat(item)}" for key, item in value.items()) + "\n  }"
        return _flat(value)

    return "{\n  " + ",\n  ".join(f"{_flat(key)}: {lines(value)}" for key, value in document.items()) + "\n}\n"


def copy(source: Path, target: Path, *, documents: Mapping[str, Any], without: Sequence[str] = ()) -> None:
    """A copy of a template's folder, whole or not at all: Airflow may be reading the folder above it.

    Args:
        documents: by file name, what files of the copy hold instead of the template's: a text, or a JSON document.
        without: files of the template that the copy does not have.

    Raises:
        SpecError: there is something at ``target``, or it cannot be written.
    """
    if target.exists():
        raise SpecError(f"There is {target} already: choose another name, or remove it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".init-") as scratch:
            made = Path(shutil.copytree(source, Path(scratch) / target.name, ignore=shutil.ignore_patterns(*_IGNORED, *without)))
            for name, document in documents.items():
                text = document if isinstance(document, str) else json_text(document)
                (made / name).write_text(text, encoding="utf-8")
            made.replace(target)
    except OSError as error:
        raise SpecError(f"The pipeline cannot be written to {target}: {error.strerror or error}") from error


def _flat(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
