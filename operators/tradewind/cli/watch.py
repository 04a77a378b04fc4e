"""A run as it goes, step by step: a table that follows it on a terminal, plain lines where the output is a file or a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tradewind.cli.airflow_api import ENDED, AirflowApi, TaskState
from tradewind.cli.services import Services
from tradewind.errors import RuntimeUnavailable, StepFailed
from tradewind.figures import key_figure

_POLL = 0.3  # seconds between two looks at the run
_COLOURS = {
    "success": "green", "failed": "red", "upstream_failed": "red", "running": "cyan", "deferred": "cyan",
    "up_for_retry": "yellow",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that has ended; ``results`` are what its tasks returned."""

    dag_id: str
    run_id: str
    state: str
    tasks: list[TaskState]
    results: dict[str, dict[str, Any]]


def watch(
    api: AirflowApi,
    services: Services,
    dag: str,
    params: dict[str, Any],
    console: Console,
    *,
    live_figures: Callable[[], Mapping[str, str]] = dict,
) -> Ended:
    """Trigger a run and show it until its end.

    Args:
        live_figures: what to show of tasks that have not ended, by task id; asked at every look.
    """
    if api.switch_on(dag):
        console.print(f"{dag} was paused: it is switched on, and runs by its schedule from now on", markup=False)
    run_id = api.trigger(dag, params)
    results: dict[str, dict[str, Any]] = {}
    with _shown(console, dag) as show:
        while True:
            services.check()
            try:
                state = api.run_state(dag, run_id)
                tasks = api.tasks(dag, run_id)
                for task in tasks:
                    if task.state == "success" and task.task_id not in results:
                        results[task.task_id] = api.result(dag, run_id, task.task_id)
            except RuntimeUnavailable:
                if not services.check():  # else it is Airflow's API server that was started again
                    raise
                continue
            show(tasks, results, live_figures())
            if state in ("success", "failed") and all(task.state in ENDED for task in tasks):
                return Ended(dag_id=dag, run_id=run_id, state=state, tasks=tasks, results=results)
            time.sleep(_POLL)


Show = Callable[[list[TaskState], dict[str, dict[str, Any]], Mapping[str, str]], None]


@contextmanager
def _shown(console: Console, dag: str) -> Iterator[Show]:
    if not console.is_terminal:
        said: dict[str, str] = {}
        yield lambda tasks, results, live: _say_news(console, said, tasks, results, live)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as table:
        yield lambda tasks, results, live: table.update(_table(dag, tasks, results, live))
    console.print()


def _say_news(
    console: Console,
    said: dict[str, str],
    tasks: list[TaskState],
    results: dict[str, dict[str, Any]],
    live: Mapping[str, str],
) -> None:
    """A line for each task whose state, or phase of a rollout, is another than was said. Waiting in a worker or in the triggerer
    is one and the same to a reader."""
    for task in tasks:
        phase = live.get(task.task_id, "").partition(":")[0]
        state = "running" if task.state == "deferred" else task.state
        news = f"{state} {phase}".strip()
        if state not in (*ENDED, "running", "up_for_retry") or said.get(task.task_id) == news:
            continue
        said[task.task_id] = news
        name, shown, seconds, figure = _row(task, results, {task.task_id: phase})
        detail = ", ".join(part for part in (f"{seconds} s" if seconds and state in ENDED else "", figure) if part)
        shown = "running" if task.state == "deferred" else shown
        console.print(f"{name}: {shown}{f', {detail}' if detail else ''}", markup=False, highlight=False, soft_wrap=True)


def figures_of(api: AirflowApi, ended: Ended) -> dict[str, Any]:
    """The figures of a run by task, with ``tasks`` and ``run``.

    Raises:
        StepFailed: a task failed; with the end of its log.
    """
    if ended.state == "failed":
        raise StepFailed(failure(api, ended))
    figures: dict[str, Any] = {name: result.get("metrics", {}) for name, result in ended.results.items()}
    figures["tasks"] = {
        task.task_id: {
            "seconds": task.seconds,
            "state": task.state,
            "reused": bool(ended.results.get(task.task_id, {}).get("reused")),
        }
        for task in ended.tasks
    }
    seconds = api.run_seconds(ended.dag_id, ended.run_id)
    figures["run"] = {"dag_id": ended.dag_id, "run_id": ended.run_id, "seconds": seconds}
    return figures


def failure(api: AirflowApi, ended: Ended) -> str:
    """Why a run failed."""
    failed = next((task for task in ended.tasks if task.state == "failed"), None)
    if failed is None:
        states = ", ".join(f"{task.task_id} {task.state}" for task in ended.tasks) or "it has none"
        return f"The run {ended.run_id} failed, and none of its tasks did: {states}. Somebody marked it, or it timed out"
    lines = api.log(ended.dag_id, ended.run_id, failed.task_id, failed.try_number)[-25:]
    return f"The task {failed.task_id} failed:\n" + "\n".join(lines)


def _table(dag: str, tasks: list[TaskState], results: dict[str, dict[str, Any]], live: Mapping[str, str]) -> Table:
    table = Table("step", "state", "seconds", "key figure", title=dag, title_justify="left")
    table.columns[2].justify = "right"
    for task in tasks:
        name, state, seconds, figure = _row(task, results, live)
        table.add_row(name, f"[{_COLOURS.get(task.state, 'default')}]{state}[/]", seconds, figure)
    return table


def _row(task: TaskState, results: dict[str, dict[str, Any]], live: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Name, state, seconds and key figure."""
    result = results.get(task.task_id, {})
    return (
        task.task_id,
        "reused" if result.get("reused") else task.state,
        "" if task.seconds is None else f"{task.seconds:.1f}",
        key_figure(result["metrics"]) if "metrics" in result else live.get(task.task_id, ""),
    )


@contextmanager
def busy(console: Console, what: str) -> Iterator[None]:
    """Says what takes a while: with a spinner on a terminal, else in a line."""
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(what, markup=False, highlight=False, soft_wrap=True)
        yield
