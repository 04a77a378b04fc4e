"""``tradewind init``: a pipeline of one's own from a template, with what a table says already filled in."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tradewind.cli import templates
from tradewind.cli.embedded import DEMO_HOME
from tradewind.cli.itself import command
from tradewind.cli.watch import busy
from tradewind.errors import SpecError, StepFailed, named
from tradewind.runtimes.environments import Environments
from tradewind.serving.base import checked_name
from tradewind.settings import Settings

console = Console(soft_wrap=True, highlight=False)


def init(
    name: Annotated[str | None, typer.Argument(help="The pipeline's name: its folder, Dag, experiment and model.")] = None,
    template: Annotated[str, typer.Option(help="The template to copy.")] = "tabular",
    data: Annotated[Path | None, typer.Option(help="A CSV or Parquet to fit the pipeline to.")] = None,
    target: Annotated[str | None, typer.Option(help="The column of it to predict.")] = None,
    dags: Annotated[
        Path | None, typer.Option(help="The Dags folder; by default the one that Airflow is configured with.")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the steps' environments; by default the demo's here, else what Airflow's configuration names."
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only show the templates.")] = False,
) -> None:
    """Make a pipeline of your own from a template; with --data and --target, one that is fitted to a table."""
    if list_:
        for known, line in templates.templates().items():
            console.print(f"[bold]{known}[/]  {line}")
        return
    if not name:
        raise SpecError(f"NAME: expected the new pipeline's name, got none; {command()} init --list shows the templates")
    checked_name(name, "NAME")
    source = templates.template(template)
    if (data is None) != (target is None):
        raise SpecError("--data and --target belong together: --data is a table, --target its column to predict")
    folder = (dags or Path(Settings.load().dags_folder)).absolute() / name
    if folder.exists():
        raise SpecError(f"There is {folder} already: choose another name, or remove it first")
    documents: dict[str, Any] = {}
    said: list[str] = []
    if data is not None and target is not None:
        if not templates.fits_any_table(source):
            fitting = [known for known in templates.templates() if templates.fits_any_table(templates.template(known))]
            raise SpecError(f"The template {template!r} is written for its own tables; --data goes with: {', '.join(fitting)}")
        drafted = draft(data.absolute(), target, home=_home(home))
        said = [*_about(drafted), *drafted["said"], *_doubtful(drafted["expectations"])]
        documents = {
            templates.TABLE: {"data": str(data.absolute()), **drafted["table"]},
            "expectations.json": drafted["expectations"],
            "README.md": _readme(name, data.name, drafted["table"], said),
        }
    templates.copy(source, folder, documents=documents, without=[templates.SAMPLE] if documents else [])
    console.print(f"Made the pipeline [bold]{folder}[/]")
    for line in said:
        console.print(f"  {line}", markup=False)
    where = [str(folder.parent), *(["--home", str(home)] if home and home.absolute() != Path(DEMO_HOME).absolute() else [])]
    console.print(f"Run it with: {command()} demo --dag {name} --dags {shlex.join(where)}", markup=False)


def _home(asked: Path | None) -> Path:
    """Where the data environment is or is made: where the demo has made it, if it has."""
    demos = Path(DEMO_HOME)
    return (asked or (demos if demos.is_dir() else Settings.load().home)).absolute()


def draft(data: Path, target: str, *, home: Path) -> dict[str, Any]:
    """What the data say, found out by a process of the data environment; see `tradewind_steps.draft`.

    Raises:
        ValidationFailed: the file cannot be read, or the target cannot be learned.
        StepFailed: the process died; with the end of what it said.
    """
    python = Environments(home / "envs").python("data", say=console.print)
    with busy(console, f"Reading {data.name}"):
        done = subprocess.run([python, "-m", "tradewind_steps.draft", data, target], capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise StepFailed(f"Reading {data} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}") from error
    if "error" in found:
        raise (named(found["error"]["type"]) or SpecError)(found["error"]["message"])
    return found


def _about(drafted: dict[str, Any]) -> list[str]:
    table = drafted["table"]
    task = {"regression": "a number", "binary": "two classes", "multiclass": f"{len(table['classes'])} classes"}[table["task"]]
    kinds = ", ".join(_counted(len(table[kind]), kind) for kind in _KINDS if table[kind])
    rules = len(drafted["expectations"]["expectations"])
    return [
        f"{table['label']!r} is {task} ({table['task']}), learned from {kinds}; {drafted['rows']:,} rows, {rules} expectations"
    ]


def _counted(number: int, kind: str) -> str:
    return f"{number} {kind if number > 1 else _KINDS[kind].removeprefix('a ')}"


def _doubtful(suite: dict[str, Any]) -> list[str]:
    marked = [entry for entry in suite["expectations"] if "Doubtful" in entry["notes"]]
    named_columns = list(dict.fromkeys(repr(entry["kwargs"]["column"]) for entry in marked))
    return (
        [f"Please check these columns in expectations.json, their rules are marked as doubtful: {', '.join(named_columns)}"]
        if marked
        else []
    )


_KINDS = {"numbers": "a number", "categories": "a category", "texts": "a text", "dates": "a date"}
_README = """# {name}

The column `{label}` of `{file}`, learned from its other columns: a pipeline that `tradewind init` fitted to the table.

{said}

| column | is |
|---|---|
{columns}

- **`table.json`** says what each column is for, how rows are held back, and what the gate wants. Move a name to `numbers`,
  `categories` or `texts` to learn from it, and out of these what is known only after the event. The gate's `rules` are a floor to
  begin with: better than no model, no worse than the champion.
- **`expectations.json`** is a draft: a Great Expectations suite, whose `notes` say how many of today's rows pass. *Doubtful*
  rules are warnings, until you take `severity` out.
- **`features.py`** (Spark) and **`train.py`** are plain functions; `dag.py` has the chain and its knobs. The folder's name is the
  Dag's, the experiment's and the model's. With user ids of Airflow's in `APPROVERS`, a release waits for the word of one of them.
- **`test_pipeline.py`** runs the chain on the table, up to the gate: `pytest` on this folder.
"""


def _readme(name: str, file: str, table: dict[str, Any], said: list[str]) -> str:
    """A fitted copy's own: the template's is about its sample. Names come from the table: each is kept in its cell."""
    columns = {column: word for kind, word in _KINDS.items() for column in table[kind]}
    for column, date in table["dates"].items():
        parts = ", ".join(f"{column}_{part}{' (0 is Monday)' if part == 'weekday' else ''}" for part in date["parts"])
        columns[column] += f": the model takes {parts}"
    columns |= {column: f"left out: {why}" for column, why in table["left_out"].items()}
    rows = "\n".join(f"| `{_cell(column)}` | {_cell(what)} |" for column, what in columns.items())
    lines = "\n".join(f"- {_cell(line)}" for line in said)
    return _README.format(name=name, label=_cell(table["label"]), file=_cell(file), said=lines, columns=rows)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())
