"""The one page that is ours: links to a run's reports. Everything in it that comes from data is escaped."""

from __future__ import annotations

from html import escape
from urllib.parse import quote, urlencode

from tradewind_plugin.reports import TaskReports

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reports</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; max-width: 60rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .35rem .75rem; border-bottom: 1px solid #8884 }}
</style></head><body><h1>Reports</h1>{body}</body></html>
"""


def reports_page(run_id: str, tasks: list[TaskReports]) -> str:
    """HTML. The links are relative to ``.../runs/<run>/reports``."""
    if not tasks:
        return _PAGE.format(body=f"<p>The steps of run <code>{escape(run_id)}</code> have written no reports yet.</p>")
    rows = "".join(_row(task) for task in tasks)
    return _PAGE.format(
        body=f"<table><thead><tr><th>Task</th><th>Status</th><th>Reports</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(task: TaskReports) -> str:
    label = task.task_id if task.map_index < 0 else f"{task.task_id} [{task.map_index}]"
    links = ", ".join(_link(task, name) for name in task.names)
    return f"<tr><td>{escape(label)}</td><td>{escape(task.status)}</td><td>{links}</td></tr>"


def _link(task: TaskReports, name: str) -> str:
    address = f"tasks/{quote(task.task_id, safe='')}/{task.map_index}/report?{urlencode({'name': name})}"
    return f'<a href="{escape(address)}">{escape(name)}</a>'
