"""Signatures of models that MLflow itself has saved: what a new version may not ask of the old one's clients."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from learning import call

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted
from tradewind.rollout.signature import differences, read, same_signature
from tradewind.runtimes.environments import Environments
from tradewind.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signatures")


@pytest.fixture(scope="module")
def taken(folder: Path, environments: Environments) -> set[tuple[str, str]]:
    """Which type MLflow takes for which: what is sent, and what the model wants."""
    return {(sent, wanted) for sent, wanted in call(environments.python("train"), "signature_probe.py", str(folder))}


@pytest.fixture
def saved(folder: Path, taken: set[tuple[str, str]]) -> Path:
    """Where the models are."""
    return folder


def model(folder: Path) -> ArtifactRef:
    return ArtifactRef(uri=folder.as_uri(), sha256="", size=0, kind="model")


def compared(saved: Path, stable: str, new: str, *, custom: bool = False) -> list[str]:
    store = Store(str(saved))
    return differences(read(store, model(saved / stable)), read(store, model(saved / new)), custom=custom)


def test_a_type_may_become_another_where_mlflow_takes_the_one_for_the_other(saved: Path, taken: set[tuple[str, str]]) -> None:
    kinds = {kind for pair in taken for kind in pair}
    assert len(kinds) == 7
    assert {pair for pair in itertools.product(kinds, kinds) if not compared(saved, *pair)} == taken
    assert compared(saved, "long", "string") == ["column 'x': long there, string here"]


def test_a_predictor_takes_any_number_for_a_number(saved: Path) -> None:
    assert compared(saved, "long", "double") == ["column 'x': long there, double here"]
    assert compared(saved, "long", "double", custom=True) == []
    assert compared(saved, "string", "double", custom=True) == ["column 'x': string there, double here"]


@pytest.mark.parametrize(
    ("stable", "new", "says"),
    [
        ("two", "double", []),
        ("double", "two", ["column 'more': none there, required double here"]),
        ("optional", "two", ["column 'more': optional double there, required double here"]),
        ("double", "optional", []),
        ("optional", "double", []),
        ("two", "optional", []),
        ("double", "narrow", []),
        ("double", "classes", ["output: float64 [-1, 2] there, int64 [-1] here"]),
        ("classes", "column", []),
        ("double", "words", ["output: float64 [-1, 2] there, none here"]),
        ("words", "double", ["output 'late': string there, none here"]),
        ("silent", "double", []),
        ("double", "silent", []),
    ],
)
def test_what_clients_would_notice(saved: Path, stable: str, new: str, says: list[str]) -> None:
    assert compared(saved, stable, new) == says


def test_it_is_refused_by_name(saved: Path) -> None:
    store = Store(str(saved))
    with pytest.raises(
        RolloutAborted, match=r"Version 2 of late has another .* serves: column 'x': double there, string here\. "
    ):
        same_signature(store, "late", "2", model(saved / "string"), model(saved / "double"))
    same_signature(store, "late", "2", model(saved / "narrow"), model(saved / "double"))
