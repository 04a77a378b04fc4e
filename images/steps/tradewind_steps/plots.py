"""Plots as matplotlib draws them without a screen."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd

BLUE, GREY = "#017cee", "#8a94a0"
# The first is the challenger's; the champion's lies under it.
_STYLES: tuple[dict[str, Any], ...] = ({"color": BLUE, "zorder": 3}, {"color": GREY, "zorder": 2, "linestyle": "--"})


def importance_plot(values: pd.Series, most: int = 20) -> bytes:
    """Feature importance as bars, the largest on top; PNG."""
    shown = values.head(most).iloc[::-1]
    figure, axes = _figure(6.4, 1.2 + 0.26 * len(shown))
    axes.barh(range(len(shown)), shown.to_numpy(), color=BLUE)
    axes.set_yticks(range(len(shown)), [_plain(name) for name in shown.index], fontsize=8)
    axes.set_xlabel("rise of the loss with the feature shuffled")
    return _bytes(figure, "png")


def roc_plot(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """True against false positives; SVG."""
    figure, axes = _figure(4.2, 3.8)
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for (name, (false, true)), style in zip(curves.items(), _STYLES, strict=False):
        axes.plot(false, true, label=name, **style)
    _labelled(axes, "ROC", "false positive rate", "true positive rate")
    return _svg(figure)


def calibration_plot(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """What happened against what was predicted, in groups of equal size; SVG."""
    figure, axes = _figure(4.2, 3.8)
    highest = max(float(np.max(values)) for pair in curves.values() for values in pair)
    axes.plot([0, highest], [0, highest], color="#cccccc", linewidth=1)
    for (name, (predicted, observed)), style in zip(curves.items(), _STYLES, strict=False):
        axes.plot(predicted, observed, label=name, marker="o", markersize=4, **style)
    _labelled(axes, "Calibration", "predicted", "observed")
    return _svg(figure)


def scatter_plot(actual: np.ndarray, predicted: dict[str, np.ndarray]) -> str:
    """Predicted against actual; SVG."""
    figure, axes = _figure(4.2, 3.8)
    for (name, values), color in zip(predicted.items(), (BLUE, GREY), strict=False):
        axes.plot(actual, values, ".", color=color, label=name, markersize=3, alpha=0.4)
    low, high = float(actual.min()), float(actual.max())
    axes.plot([low, high], [low, high], color="#cccccc", linewidth=1)
    _labelled(axes, "Predicted against actual", "actual", "predicted")
    return _svg(figure)


def against_plot(old: np.ndarray, new: np.ndarray, names: list[str]) -> str:
    """One version's answers against another's to the same rows; SVG."""
    figure, axes = _figure(4.2, 3.8)
    low, high = float(min(old.min(), new.min())), float(max(old.max(), new.max()))
    axes.plot([low, high], [low, high], color="#cccccc", linewidth=1)
    axes.plot(old, new, ".", color=BLUE, markersize=3, alpha=0.4)
    axes.set_title("Answers to the same rows", fontsize=10)
    axes.set_xlabel(names[0], fontsize=9)
    axes.set_ylabel(names[1], fontsize=9)
    axes.tick_params(labelsize=8)
    return _svg(figure)


def distribution_plot(samples: dict[str, np.ndarray], what: str) -> str:
    """The share of values up to each; SVG."""
    figure, axes = _figure(4.2, 3.8)
    for (name, values), style in zip(samples.items(), _STYLES, strict=False):
        axes.plot(np.sort(values), np.linspace(0, 1, len(values)), label=name, **style)
    _labelled(axes, "Distribution", what, "share")
    return _svg(figure)


def matrix_plot(counts: np.ndarray, classes: list[str]) -> str:
    """Shares of each class that were taken for each other; SVG."""
    figure, axes = _figure(4.2, 3.8)
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    names = [_plain(name) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title("Challenger: class taken for class", fontsize=10)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("actual", fontsize=9)
    return _svg(figure)


def bars_plot(shares: dict[str, float], what: str) -> str:
    """Shares as bars, the first on top; SVG."""
    figure, axes = _figure(4.6, 1.2 + 0.3 * len(shares))
    axes.barh(range(len(shares)), list(shares.values())[::-1], color=BLUE)
    axes.set_yticks(range(len(shares)), [_plain(name) for name in shares][::-1], fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_title("What mattered", fontsize=10)
    axes.set_xlabel(what, fontsize=9)
    axes.tick_params(labelsize=8)
    return _svg(figure)


def pairs_plot(shares: list[tuple[str, float, float]], names: tuple[str, str], title: str) -> str:
    """Two shares as bars beside each other, by what they are of; SVG."""
    figure, axes = _figure(5.2, 1.2 + 0.26 * len(shares))
    places = np.arange(len(shares))[::-1]
    for which, (name, color, offset) in enumerate(zip(names, (GREY, BLUE), (0.2, -0.2), strict=True), start=1):
        axes.barh(places + offset, [share[which] for share in shares], height=0.4, color=color, label=name)
    axes.set_yticks(places, [_plain(share[0]) for share in shares])
    _labelled(axes, _plain(title), "share of rows", "")
    return _svg(figure)


def search_plot(numbers: np.ndarray, values: np.ndarray, so_far: np.ndarray, metric: str, chosen: int | None) -> str:
    """What each trial reached, and the best so far; SVG."""
    figure, axes = _figure(5.6, 3.8)
    axes.plot(numbers, so_far, color=GREY, drawstyle="steps-post", linewidth=1.2, label="best so far")
    axes.plot(numbers, values, ".", color=BLUE, markersize=6, alpha=0.7, label="trial")
    if chosen is not None:
        at = numbers == chosen
        axes.plot(numbers[at], values[at], "o", markerfacecolor="none", markeredgecolor="#c0362c", markersize=11, label="chosen")
    _labelled(axes, "The search", "trial", metric)
    return _svg(figure)


def parallel_plot(axes_: dict[str, tuple[np.ndarray, str, str]], *, higher_is_better: bool) -> str:
    """A line a trial over one axis each, the darker the better by the last axis; SVG.

    Args:
        axes_: by name: where each trial stands, 0 to 1, and what the axis says at both ends.
    """
    figure, axes = _figure(max(4.2, 1.3 * len(axes_)), 3.8)
    heights = np.column_stack([values for values, _, _ in axes_.values()])
    good = heights[:, -1] if higher_is_better else 1 - heights[:, -1]
    for place in np.argsort(good, kind="stable"):  # the best are drawn last, on top
        axes.plot(heights[place], color=BLUE, alpha=0.08 + 0.8 * float(good[place]) ** 2, linewidth=1.3)
    axes.set_xticks(range(len(axes_)), [_plain(name) for name in axes_], fontsize=8)
    for place, (_, low, high) in enumerate(axes_.values()):
        axes.axvline(place, color="#cccccc", linewidth=1, zorder=0)
        for text, height, side in ((low, -0.05, "top"), (high, 1.05, "bottom")):
            axes.text(place, height, _plain(text), ha="center", va=side, fontsize=7, color=GREY)
    axes.set_ylim(-0.15, 1.15)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_title("Hyperparameters and what came of them", fontsize=10)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _labelled(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8)


def _svg(figure: Any) -> str:
    text = _bytes(figure, "svg").decode()
    return text[text.index("<svg") :]


def _bytes(figure: Any, kind: str) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    # Fixed ids and no date: equal figures give equal bytes, so equal reports lie under one hash.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tradewind"}):
        figure.savefig(buffer, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _plain(name: object) -> str:
    """A name as text only: matplotlib reads dollar signs as formulas."""
    text = str(name).replace("$", r"\$")
    return text if len(text) <= 40 else f"{text[:39]}…"
