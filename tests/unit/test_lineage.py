"""What a model was trained on, as far as it can still be read as it was then."""

from __future__ import annotations

from pathlib import Path

import pytest
from releases import Releases

from tradewind.approval.lineage import trained_on
from tradewind.contract import ArtifactRef
from tradewind.errors import StoreError
from tradewind.operators import EvaluateModelOperator
from tradewind.store import Store


def trained(store: Store, dataset: ArtifactRef) -> ArtifactRef:
    """The model of a training that read the dataset."""
    return Releases(store, None, "m")._step(
        "one", "train", inputs={"dataset": dataset}, folder="model", content={"model": "1"}, metrics={}
    )


def compared(store: Store, model: ArtifactRef) -> bool:
    """Whether a gate would compare the model's training data."""
    return EvaluateModelOperator(task_id="gate", model={}, dataset={}, rules=[])._training(store, model) is not None


def test_the_stores_own_data_are_known_until_they_are_gone(store: Store) -> None:
    dataset = Releases(store, None, "m")._step("one", "features", inputs={}, folder="dataset", content={"a": "1"}, metrics={})
    model = trained(store, dataset)
    assert trained_on(store, model) and compared(store, model)
    store.delete(dataset.uri)
    assert not trained_on(store, model) and not compared(store, model)


def test_a_file_of_anothers_is_known_until_it_is_written_over(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "customers.parquet"
    file.write_bytes(b"old")
    model = trained(store, store.refer(str(file)))
    assert trained_on(store, model)
    assert not compared(store, model), "it may be written over while the step reads it"
    file.write_bytes(b"new")
    assert not trained_on(store, model)


def test_a_store_that_cannot_be_asked_fails_no_gate() -> None:
    store = Store("s3x://tests/gate")
    model = ArtifactRef(uri=f"{store.run_uri('m', 'one', 'train', -1, 1)}/model", sha256="a" * 64, size=1, kind="model")
    with pytest.raises(StoreError):
        trained_on(store, model)
    assert not compared(store, model)
