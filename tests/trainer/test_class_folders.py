"""What counts as an image of a class: every image below its folder that is not hidden, also through links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linnet.names import NameNotText
from tests.trainer.test_data import COUNTS, everything
from tests.trainer.trees import write_empty_files
from trainer.data import find_dataset
from trainer.errors import SplitsUnclear
from trainer.recipe import Data


def test_only_images_that_can_be_seen_count(tmp_path: Path) -> None:
    write_empty_files(tmp_path, COUNTS)
    wanted = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    for name in (".hidden.png", "notes.txt", "Thumbs.db", "noextension"):
        (tmp_path / "ant" / name).touch()
    (tmp_path / "ant" / "folder.png").mkdir()
    write_empty_files(tmp_path / "ant", {".thumbnails": 3})
    write_empty_files(tmp_path, {".git": 3})
    (tmp_path / "README.png").touch()
    dataset = find_dataset(Data(path=tmp_path), seed=0)
    assert dataset.classes == ("ant", "bee")
    assert sorted(path.relative_to(tmp_path) for path in everything(dataset)) == wanted


def test_a_hidden_folder_above_the_data_hides_nothing(tmp_path: Path) -> None:
    write_empty_files(tmp_path / ".cache" / "photos", COUNTS)
    assert len(everything(find_dataset(Data(path=tmp_path / ".cache" / "photos"), seed=0))) == 30


def test_images_in_folders_of_a_class_and_in_capitals_count(tmp_path: Path) -> None:
    write_empty_files(tmp_path, COUNTS)
    (tmp_path / "ant" / "2024").mkdir()
    (tmp_path / "ant" / "2024" / "IMG_1.JPG").touch()
    assert len(everything(find_dataset(Data(path=tmp_path), seed=0))) == 31


def test_a_linked_folder_of_a_class_counts(tmp_path: Path) -> None:
    write_empty_files(tmp_path / "photos", COUNTS)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").touch()
    (tmp_path / "photos" / "ant" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "ant" / "circle").symlink_to(tmp_path / "photos" / "ant")
    assert len(everything(find_dataset(Data(path=tmp_path / "photos"), seed=0))) == 31


@pytest.mark.parametrize(
    "folders", [("training_data", "val", "test"), ("train", "holdout"), ("Validation", "one", "two")]
)
def test_splits_by_other_names_are_not_taken_for_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        write_empty_files(tmp_path / folder, COUNTS)
    with pytest.raises(SplitsUnclear, match=r"all hold the same ones \(ant, bee\), as splits do: name them train, val"):
        find_dataset(Data(path=tmp_path), seed=0)


def test_classes_may_be_called_as_splits_are_or_be_divided_alike(tmp_path: Path) -> None:
    write_empty_files(tmp_path / "vehicles", {"train": 20, "car": 10})
    assert find_dataset(Data(path=tmp_path / "vehicles"), seed=0).classes == ("car", "train")
    for animal in ("cat", "dog"):
        write_empty_files(tmp_path / "animals" / animal, {"indoors": 5, "outdoors": 5})
    assert find_dataset(Data(path=tmp_path / "animals"), seed=0).classes == ("cat", "dog")


@pytest.mark.parametrize("odd", [b"ant/caf\xe9.png", b"caf\xe9/1.png"])
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, odd: bytes) -> None:
    write_empty_files(tmp_path, COUNTS)
    path = tmp_path / os.fsdecode(odd)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(NameNotText, match=r"caf\\xe9.* is not UTF-8 and cannot be stated: rename it"):
        find_dataset(Data(path=tmp_path), seed=0)
