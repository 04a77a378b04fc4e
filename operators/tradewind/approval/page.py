"""The dossier as one page that needs nothing else, and in short for Airflow's own form. Whatever comes from data is escaped."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from tradewind.approval.changes import Change, changes
from tradewind.approval.dossier import Dossier, Side
from tradewind.approval.lineage import sources
from tradewind.contract import StepManifest, digest
from tradewind.figures import gate_metric
from tradewind.store import Store

_SHOWN_SLICES = 60
_SHOWN_COLUMNS = 200
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>&~$:@])")


def page(dossier: Dossier, store: Store, *, decision: dict[str, Any] | None = None) -> str:
    """The HTML.

    Args:
        decision: what came of it: ``{"approved", "by", "at", "why", "void"}``; None while it is waited for.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": figure, "signed": _signed}
    template = environment.from_string(files("tradewind.approval").joinpath("dossier.html.j2").read_text())
    return template.render(
        dossier=dossier,
        gate=dossier.gate.metrics,
        metric=gate_metric(dossier.gate.metrics),
        decision=decision,
        metrics=_metrics(dossier),
        slices=_slices(dossier),
        data=_data(dossier),
        learned=_learned(dossier),
        answers=_answers(dossier),
        cost=_cost(dossier),
        changed=_changed(dossier, store),
        pinned=pinned_in_short(dossier),
    )


def body(dossier: Dossier, *, link: str) -> str:
    """What Airflow's form shows, in Markdown: the key figures, and where the rest is."""
    gate, metric = dossier.gate.metrics, gate_metric(dossier.gate.metrics)
    champion = dossier.champion
    lines = [
        f"**[Open the dossier]({link})** before you decide: metrics, slices, data, cost, what changed, and the hashes that "
        "your word is bound to.",
        "",
        f"| | version {markdown(dossier.challenger.version)} | "
        + (f"champion, version {markdown(champion.version)} |" if champion else "no champion yet |"),
        "|---|---|---|",
    ]
    for row in [row for row in _metrics(dossier) if row["name"] == metric][:1] + _rows(dossier):
        lines.append(f"| {markdown(row['name'])} | {markdown(figure(row['new']))} | {markdown(figure(row['old']))} |")
    lines += [
        "",
        f"Gate: {markdown(gate['verdict'])} on {markdown(figure(gate['rows']))} rows. {markdown(changed_in_short(dossier))}",
        "",
        f"All that is pinned, in short: `{pinned_in_short(dossier)}`.",
    ]
    return "\n".join(lines)


def pinned_in_short(dossier: Dossier) -> str:
    """Of all pins: another where any of them is."""
    return digest(dossier.pins)[:16]


def changed_in_short(dossier: Dossier) -> str:
    """A sentence: how much differs from the champion."""
    if dossier.champion is None:
        return "It is the first release: there is nothing to compare with."
    parts = [
        _count(found, one)
        for found, one in (
            (dossier.code, "file"), (dossier.settings, "setting"), (dossier.packages, "package"), (dossier.columns, "column"),
        )
    ]  # fmt: skip
    return f"Since version {dossier.champion.version}: {', '.join(parts)} changed."


def markdown(text: str) -> str:
    """As plain text in a line of Markdown, whatever it holds."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def figure(value: Any) -> str:
    """A number or a text as a person reads it."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{'-' if value < 0 else '+'}{figure(abs(value))}"


def _metrics(dossier: Dossier) -> list[dict[str, Any]]:
    new, old = dossier.gate.metrics["challenger"], (dossier.champion and dossier.gate.metrics.get("champion")) or {}
    return [_row(name, value, old.get(name)) for name, value in new.items()]


def _slices(dossier: Dossier) -> list[dict[str, Any]]:
    """The main metric by slice, those first that lost most."""
    metric, found = gate_metric(dossier.gate.metrics), dossier.verdict.get("slices") or {}
    before = {
        (column, str(part["value"])): part.get(metric)
        for column, parts in ((dossier.champion and found.get("champion")) or {}).items()
        for part in parts
    }
    rows = [
        {**_row(f"{column} = {part['value']}", part.get(metric), before.get((column, str(part["value"])))), "rows": part["rows"]}
        for column, parts in (found.get("challenger") or {}).items()
        for part in parts
    ]
    rows.sort(key=lambda row: (row["difference"] is None, row["difference"] or 0))
    return rows[:_SHOWN_SLICES]


def _rows(dossier: Dossier) -> list[dict[str, Any]]:
    """A few facts of the data, for both."""
    new, old = dossier.challenger, dossier.champion
    facts = [("rows learned from", "rows_train"), ("data until", "data_end"), ("model, MB", "model_mb")]
    return [_row(name, _fact(new.trained, key), _fact(old.trained if old else None, key)) for name, key in facts]


def _data(dossier: Dossier) -> list[dict[str, Any]]:
    names = {
        "validate": ("rows_checked", "rows_quarantined", "quarantined_share", "data_end"),
        "features": ("rows", "columns", "label_rate", "label_mean", "data_end"),
        "train": ("rows_train", "rows_holdout", "features", "data_start", "data_end"),
    }
    rows = []
    for made in dossier.challenger.steps:
        old = _same(dossier.champion, made.name)
        for name in names.get(made.step, ()):
            if name in made.manifest.metrics:
                label = f"{made.name}: {name.replace('_', ' ')}"
                rows.append(_row(label, made.manifest.metrics[name], _fact(old, name)))
    return rows


def _learned(dossier: Dossier) -> dict[str, Any] | None:
    """The champion's training data beside this version's; None where the gate could not tell. ``columns`` is None where they are
    the same."""
    found = (dossier.champion and dossier.verdict.get("data")) or None
    if found is None:
        return None
    columns = found["columns"]
    rows = None if columns is None else [_column(column) for column in columns[:_SHOWN_COLUMNS]]
    return {"rows": found["rows"], "columns": rows, "more": max(0, len(columns or []) - _SHOWN_COLUMNS)}


def _column(column: dict[str, Any]) -> dict[str, Any]:
    """One line: what the champion's had, what this one's has."""
    sides = []
    for side in (0, 1):
        kind, missing, low, high, texts = (column[what][side] for what in ("type", "missing", "low", "high", "texts"))
        ends = [end if isinstance(end, str) else f"{end:,.6g}" for end in (low, high) if end is not None]
        held = " to ".join(ends) if texts is None else f"{figure(texts)} texts"
        sides.append({"type": kind, "missing": None if missing is None else f"{missing:.2%}", "held": held})
    names = {what: None if (found := column[what]) is None else _some(*found) for what in ("came", "went")}
    return {"name": column["column"], "old": sides[0], "new": sides[1], "psi": column["psi"], **names}


def _some(count: int, names: list[str]) -> str:
    return ", ".join(names) + (f" and {count - len(names):,} more" if count > len(names) else "")


def _answers(dossier: Dossier) -> dict[str, Any] | None:
    """How far the two models' answers to the rows held back are apart, those slices first where most are."""
    metrics = dossier.gate.metrics.get("differences")
    if not dossier.champion or not metrics:
        return None
    slices = [
        {"name": f"{column} = {part['value']}", "rows": part["rows"], "disagreement": part["disagreement"]}
        for column, parts in ((dossier.verdict.get("slices") or {}).get("differences") or {}).items()
        for part in parts
    ]
    slices.sort(key=lambda part: -(part["disagreement"] or 0))
    return {"metrics": metrics, "slices": slices[:_SHOWN_SLICES]}


def _cost(dossier: Dossier) -> list[dict[str, Any]]:
    names = {"seconds": "seconds", "cpu_seconds": "CPU seconds", "peak_memory_mb": "peak memory, MB"}
    rows = [
        _row(f"{made.name}: {label}", made.manifest.usage.get(key), (old.usage if old else {}).get(key))
        for made in dossier.challenger.steps
        for old in [_same(dossier.champion, made.name)]
        for key, label in names.items()
        if key in made.manifest.usage
    ]
    champion = dossier.champion
    size = _row(
        "model, MB", round(dossier.challenger.model.size / 1e6, 3), round(champion.model.size / 1e6, 3) if champion else None
    )
    return [*rows, size]


def _changed(dossier: Dossier, store: Store) -> list[dict[str, Any]]:
    """Tables of what differs, each with a word for none and for not known."""
    tables: list[tuple[str, list[Change] | None]] = [
        ("Settings", dossier.settings),
        ("Columns", dossier.columns),
        ("Data that came from outside", _sources(dossier, store)),
        ("Packages", dossier.packages),
        ("Environments", _environments(dossier)),
    ]
    return [{"name": name, "changes": found} for name, found in tables]


def _sources(dossier: Dossier, store: Store) -> list[Change] | None:
    if dossier.champion is None or not dossier.champion.steps:
        return None
    said = [
        {name: f"{ref.size:,} bytes, sha256 {ref.sha256[:12]}" for name, ref in sources(store, side.steps).items()}
        for side in (dossier.champion, dossier.challenger)
    ]
    return changes(*said)


def _environments(dossier: Dossier) -> list[Change] | None:
    if dossier.champion is None:
        return None
    old, new = (
        {made.name: f"{made.spec.image} {made.spec.environment}" for made in side.steps if made.spec.environment}
        for side in (dossier.champion, dossier.challenger)
    )
    return changes(old, new) if old and new else None


def _same(side: Side | None, name: str) -> StepManifest | None:
    return next((made.manifest for made in side.steps if made.name == name), None) if side else None


def _fact(manifest: StepManifest | None, name: str) -> Any:
    return manifest.metrics.get(name) if manifest else None


def _row(name: str, new: Any, old: Any) -> dict[str, Any]:
    numbers = isinstance(new, int | float) and isinstance(old, int | float)
    return {"name": name, "new": new, "old": old, "difference": new - old if numbers else None}


def _count(found: list[Any] | None, one: str) -> str:
    return f"{one}s not known" if found is None else f"{len(found)} {one}{'' if len(found) == 1 else 's'}"
