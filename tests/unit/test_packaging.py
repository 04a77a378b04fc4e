"""What counts as the code that an entry point uses, and what does not."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tradewind.contract import ArtifactRef
from tradewind.errors import SpecError
from tradewind.packaging import bundle, own_code, used_code
from tradewind.resources import package_folders
from tradewind.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text("import os\nfrom lib import shared\n\ndef train(dataset, params):\n    from late import x\n")
    (folder / "late.py").write_text("x = 1\n")
    (folder / "lib" / "__init__.py").write_text("")
    (folder / "lib" / "shared.py").write_text("from . import deeper\n")
    (folder / "lib" / "deeper.py").write_text("y = 1\n")
    (folder / "features.py").write_text("def build(spark, sources, params): ...\n")
    (folder / "expectations.json").write_text("{}")
    (folder / "README.md").write_text("# Pipeline\n")
    (folder / "dag.py").write_text("NAME = 1\n")
    return folder


@pytest.mark.parametrize("name", ["train.py", "late.py", "lib/__init__.py", "lib/shared.py", "lib/deeper.py"])
def test_a_change_of_what_an_entry_point_uses_is_noticed(folder: Path, name: str) -> None:
    before = used_code(folder, "train:train")
    (folder / name).write_text((folder / name).read_text() + "# changed\n")
    assert used_code(folder, "train:train") != before


@pytest.mark.parametrize("name", ["features.py", "README.md", "dag.py", "expectations.json"])
def test_a_change_of_what_it_does_not_use_is_not(folder: Path, name: str) -> None:
    before = used_code(folder, "train:train")
    (folder / name).write_text((folder / name).read_text() + " ")
    assert used_code(folder, "train:train") == before


def test_declared_files_count(folder: Path) -> None:
    before = used_code(folder, None, ["expectations.json"])
    (folder / "expectations.json").write_text('{"name": "x"}')
    assert used_code(folder, None, ["expectations.json"]) != before


@pytest.mark.parametrize("name", ["../beside.json", "/etc/hostname", "lib"])
def test_a_declared_file_lies_in_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "beside.json").write_text("{}")
    with pytest.raises(SpecError, match=f"no file '{name}' in"):
        used_code(folder, None, [name])


def test_modules_that_import_each_other_end(folder: Path) -> None:
    (folder / "late.py").write_text("import train\n")
    assert used_code(folder, "train:train")


@pytest.mark.parametrize(
    ("entry_point", "said"),
    [
        ("train", "'module:function'"),
        (":train", "'module:function'"),
        ("nowhere:train", "no nowhere.py"),
        ("lib.nowhere:f", "no lib/nowhere.py"),
    ],
)
def test_a_wrong_entry_point_is_explained(folder: Path, entry_point: str, said: str) -> None:
    if entry_point == "lib.nowhere:f":
        (folder / "lib" / "__init__.py").unlink()
    with pytest.raises(SpecError, match=said):
        used_code(folder, entry_point)


def test_a_syntax_error_is_named_with_file_and_line(folder: Path) -> None:
    (folder / "train.py").write_text("x = 1\ndef train(:\n")
    with pytest.raises(SpecError, match=r"train\.py:2"):
        used_code(folder, "train:train")


def test_a_bundle_depends_on_the_files_alone(folder: Path, store: Store) -> None:
    first = bundle(folder, store)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"x")
    for path in folder.rglob("*.py"):
        path.touch()
    assert bundle(folder, store) == first
    (folder / "README.md").write_text("# Changed\n")
    changed: ArtifactRef = bundle(folder, store)
    assert changed.sha256 != first.sha256


def test_data_in_the_folder_is_refused(folder: Path, store: Store) -> None:
    (folder / "big.csv").write_bytes(b"0" * 21_000_000)
    with pytest.raises(SpecError, match=r"21 MB, at most 20 MB.*big\.csv"):
        bundle(folder, store)


def names(code: ArtifactRef) -> list[str]:
    with zipfile.ZipFile(code.uri.removeprefix("file://")) as archive:
        return archive.namelist()


def test_a_linked_folder_travels_and_a_link_to_where_one_is_ends(folder: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "beside" / "sub").mkdir(parents=True)
    (tmp_path / "beside" / "sub" / "tables.py").write_text("z = 1\n")
    for name in ("common", "again"):
        (folder / name).symlink_to(tmp_path / "beside")
    (folder / "lib" / "up").symlink_to(folder)
    found = names(bundle(folder, store))
    assert {"common/sub/tables.py", "again/sub/tables.py", "lib/shared.py"} <= set(found)
    assert not [name for name in found if "up/" in name]


def test_what_is_hidden_stays_at_home(folder: Path, store: Store) -> None:
    (folder / ".env").write_text("PASSWORD=secret\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret\n")
    assert not [name for name in names(bundle(folder, store)) if name.startswith(".")]


def test_compiled_code_is_no_code(tmp_path: Path) -> None:
    """Python writes it while others look: under a name of its own first, then renamed."""
    cache = package_folders()["tradewind_steps"] / "__pycache__" / f"test-{tmp_path.name}.cpython-311.pyc.140234"
    before = own_code.__wrapped__()
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"half")
    try:
        assert own_code.__wrapped__() == before
    finally:
        cache.unlink()
