"""Which file is in which split: every layout, every mistake, and the rules of a split that is drawn."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.trees import write_empty_files, write_photos
from trainer.data import Dataset, find_dataset
from trainer.errors import (
    ClassesDiffer,
    DataError,
    DataNotFound,
    DuplicateImages,
    EmptyClass,
    SingleImage,
    TooFewClasses,
    TooFewImages,
    UnreadableFiles,
)
from trainer.recipe import Data

COUNTS = {"ant": 20, "bee": 10}


def names(dataset: Dataset, split: str) -> list[str]:
    """Return `class/file` of a split, in order."""
    return ["/".join(example.path.parts[-2:]) for example in getattr(dataset, split)]


def per_class(dataset: Dataset, split: str) -> list[int]:
    labels = [example.label for example in getattr(dataset, split)]
    return [labels.count(label) for label in range(len(dataset.classes))]


def everything(dataset: Dataset) -> list[Path]:
    return [example.path for split in (dataset.train, dataset.val, dataset.test) for example in split]


def test_a_flat_folder_is_split_in_three(tmp_path: Path) -> None:
    write_empty_files(tmp_path, COUNTS)
    dataset = find_dataset(Data(path=tmp_path, validation_fraction=0.25, test_fraction=0.2), seed=0)
    assert dataset.classes == ("ant", "bee")
    assert [per_class(dataset, split) for split in ("train", "val", "test")] == [[12, 6], [4, 2], [4, 2]]
    assert sorted(everything(dataset)) == sorted(tmp_path.rglob("*.png"))
    assert dataset.origin == "one folder, 0.2 of it for the test, 0.25 of the rest for validation"
    assert all(dataset.classes[example.label] == example.path.parent.name for example in dataset.train)


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "Testing"), ("training_set", "test_set"), ("train", "val")]
)
def test_validation_is_carved_from_train_where_no_folder_is_left_for_it(tmp_path: Path, train: str, test: str) -> None:
    write_empty_files(tmp_path / train, COUNTS)
    write_empty_files(tmp_path / test, {"ant": 3, "bee": 2})
    dataset = find_dataset(Data(path=tmp_path), seed=0)
    assert [per_class(dataset, split) for split in ("train", "val", "test")] == [[18, 9], [2, 1], [3, 2]]
    assert {path.parts[-3] for path in everything(dataset)[:-5]} == {train}
    assert {path.parts[-3] for path in everything(dataset)[-5:]} == {test}
    assert dataset.origin == f"train folder with 0.1 of it for validation, test split from {test}/"


def test_three_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    for folder, counts in (("train", COUNTS), ("valid", {"ant": 2, "bee": 1}), ("test", {"ant": 1, "bee": 1})):
        write_empty_files(tmp_path / folder, counts)
    dataset = find_dataset(Data(path=tmp_path), seed=0)
    assert [per_class(dataset, split) for split in ("train", "val", "test")] == [[20, 10], [2, 1], [1, 1]]
    assert {example.path.parts[-3] for example in dataset.val} == {"valid"}


@pytest.mark.parametrize("beside", [(), (".cache",)])
def test_a_train_folder_alone_is_split_as_a_flat_one(tmp_path: Path, beside: tuple[str, ...]) -> None:
    write_empty_files(tmp_path / "train", COUNTS)
    for name in beside:
        (tmp_path / name).mkdir()
    dataset = find_dataset(Data(path=tmp_path), seed=0)
    assert dataset.classes == ("ant", "bee")
    assert len(everything(dataset)) == 30


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_empty_files(tmp_path, {"plane": 5, "train": 5})
    assert find_dataset(Data(path=tmp_path), seed=0).classes == ("plane", "train")


def test_a_split_is_a_function_of_the_seed(tmp_path: Path) -> None:
    write_empty_files(tmp_path, COUNTS)
    first, again, other = (find_dataset(Data(path=tmp_path), seed) for seed in (1, 1, 2))
    assert first == again
    assert first.fingerprint == again.fingerprint
    assert names(first, "test") != names(other, "test")
    assert first.fingerprint != other.fingerprint


def test_a_split_survives_a_move_and_another_class(tmp_path: Path) -> None:
    """What is drawn of a class depends on that class alone."""
    write_empty_files(tmp_path / "a" / "photos", COUNTS)
    write_empty_files(tmp_path / "b" / "photos", COUNTS | {"wasp": 7})
    here, there = (find_dataset(Data(path=tmp_path / place / "photos"), seed=0) for place in "ab")
    assert names(here, "test") == [name for name in names(there, "test") if not name.startswith("wasp")]
    before = here.fingerprint
    (tmp_path / "a").rename(tmp_path / "c")
    assert find_dataset(Data(path=tmp_path / "c" / "photos"), seed=0).fingerprint == before


def test_a_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    write_empty_files(tmp_path, COUNTS)
    seen = {find_dataset(Data(path=tmp_path), seed=0).fingerprint}
    (tmp_path / "ant" / "000.png").write_bytes(b"longer")
    seen.add(find_dataset(Data(path=tmp_path), seed=0).fingerprint)
    (tmp_path / "ant" / "000.png").rename(tmp_path / "ant" / "zzz.png")
    seen.add(find_dataset(Data(path=tmp_path), seed=0).fingerprint)
    (tmp_path / "ant").rename(tmp_path / "ape")
    seen.add(find_dataset(Data(path=tmp_path), seed=0).fingerprint)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("counts", "error", "sentence"),
    [
        ({}, TooFewClasses, "{root} holds no class folder: put the images of each class into a folder of its own"),
        ({"ant": 5}, TooFewClasses, "{root} holds only the class folder 'ant': put the images of each class"),
        ({"ant": 5, "bee": 0}, EmptyClass, "The class folder {root}/bee holds no image: add images or remove"),
        ({"ant": 5, "bee": 1}, TooFewImages, "The class 'bee' has 1 image for training, but 3 are needed"),
        ({"ant": 5, "bee": 2}, TooFewImages, "The class 'bee' has 2 images for training, but 3 are needed"),
    ],
)
def test_a_folder_that_cannot_be_split(
    tmp_path: Path, counts: dict[str, int], error: type[DataError], sentence: str
) -> None:
    write_empty_files(tmp_path, counts)
    with pytest.raises(error) as caught:
        find_dataset(Data(path=tmp_path), seed=0)
    assert str(caught.value).startswith(sentence.format(root=tmp_path))


def test_a_class_of_one_image_leaves_nothing_for_validation(tmp_path: Path) -> None:
    write_empty_files(tmp_path / "train", {"ant": 5, "bee": 1})
    write_empty_files(tmp_path / "test", COUNTS)
    with pytest.raises(TooFewImages, match="The class 'bee' has 1 image for training, but 2 are needed"):
        find_dataset(Data(path=tmp_path), seed=0)


def test_an_empty_class_of_the_test_folder_is_found(tmp_path: Path) -> None:
    write_empty_files(tmp_path / "train", COUNTS)
    write_empty_files(tmp_path / "test", {"ant": 2, "bee": 0})
    with pytest.raises(EmptyClass, match=f"{tmp_path}/test/bee holds no image"):
        find_dataset(Data(path=tmp_path), seed=0)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"ant": 2, "fly": 2}, "test lacks bee and has fly besides: every split needs the same class folders as train"),
        ({"ant": 2, "bee": 2, "fly": 1}, "test has fly besides: every split needs"),
        ({"ant": 2, "Bee": 2}, "test lacks bee and has Bee besides: every split needs"),
    ],
)
def test_splits_have_the_same_classes(tmp_path: Path, counts: dict[str, int], sentence: str) -> None:
    write_empty_files(tmp_path / "train", COUNTS)
    write_empty_files(tmp_path / "test", counts)
    with pytest.raises(ClassesDiffer, match=sentence):
        find_dataset(Data(path=tmp_path), seed=0)


def test_data_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "none", file):
        with pytest.raises(DataNotFound, match=f"There is no data at {path}: set data.path"):
            find_dataset(Data(path=path), seed=0)


@pytest.mark.parametrize("test_folder", [True, False])
def test_a_fraction_thins_out_the_training_split_alone_and_every_class_alike(tmp_path: Path, test_folder: bool) -> None:
    root = write_empty_files(tmp_path / "train", COUNTS)
    if test_folder:
        write_empty_files(tmp_path / "test", {"ant": 3, "bee": 2})
    whole = find_dataset(Data(path=tmp_path), seed=0)
    part = find_dataset(Data(path=tmp_path, fraction=0.3), seed=0)
    assert (part.val, part.test, part.classes) == (whole.val, whole.test, whole.classes)
    assert per_class(part, "train") == [round(0.3 * count) for count in per_class(whole, "train")]
    assert set(part.train) < set(whole.train)
    assert names(part, "train") == sorted(names(part, "train"))
    assert part.origin == f"{whole.origin}; 0.3 of the training images are used"
    assert find_dataset(Data(path=tmp_path, fraction=0.3), seed=0) == part
    assert per_class(find_dataset(Data(path=tmp_path, fraction=0.001), seed=0), "train") == [1, 1]
    assert root.is_dir()


def with_a_copy(root: Path, source: str, copy: str) -> Dataset:
    """Return three splits of pictures, one of which is in two of them."""
    for number, split in enumerate(("train", "val", "test")):
        write_photos(root / split, {"blue": 3, "red": 3}, seed=number, side_px=8)
    (root / copy).write_bytes((root / source).read_bytes())
    return find_dataset(Data(path=root), seed=0)


@pytest.mark.parametrize(
    ("source", "copy"),
    [
        ("train/red/000.jpg", "test/red/001.jpg"),
        ("train/red/000.jpg", "val/blue/002.jpg"),  # under another class is no better
        ("val/red/000.jpg", "test/red/other-name.jpg"),
    ],
)
def test_an_image_in_two_splits_is_refused_by_its_content(tmp_path: Path, source: str, copy: str) -> None:
    dataset = with_a_copy(tmp_path, source, copy)
    with pytest.raises(DuplicateImages) as caught:
        dataset.refuse_duplicates()
    assert str(caught.value) == (
        f"1 image is in more than one split ({tmp_path / source} is also {tmp_path / copy}): "
        "remove all but one of each."
    )


def test_an_image_twice_in_one_split_is_no_duplicate(tmp_path: Path) -> None:
    with_a_copy(tmp_path, "train/red/000.jpg", "train/red/copy.jpg").refuse_duplicates()


def test_contents_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    """Another photo of the same name, size and time is another data set."""
    write_empty_files(tmp_path, COUNTS)
    path = tmp_path / "ant" / "000.png"
    path.write_bytes(b"this")
    before = find_dataset(Data(path=tmp_path), seed=0).fingerprint
    path.write_bytes(b"that")
    os.utime(path, ns=(0, 0))
    assert find_dataset(Data(path=tmp_path), seed=0).fingerprint != before


def test_files_that_cannot_be_read_are_named_when_their_contents_are_asked_for(tmp_path: Path) -> None:
    write_empty_files(tmp_path, COUNTS)
    dataset = find_dataset(Data(path=tmp_path), seed=0)
    (tmp_path / "ant" / "003.png").unlink()
    with pytest.raises(UnreadableFiles, match=r"1 of the images cannot be used: .*ant/003\.png.*No such file"):
        assert dataset.fingerprint


def test_a_single_image_is_no_class(tmp_path: Path) -> None:
    for split, counts in (("train", {"ant": 5, "bee": 1}), ("val", COUNTS), ("test", COUNTS)):
        write_empty_files(tmp_path / split, counts)
    with pytest.raises(SingleImage, match="The class 'bee' has a single image for training: add images or remove"):
        find_dataset(Data(path=tmp_path), seed=0)


@given(
    counts=st.lists(st.integers(3, 15), min_size=2, max_size=4),
    validation=st.floats(0.01, 0.89),
    test=st.floats(0.01, 0.89),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_a_drawn_split_is_a_partition_with_every_class_in_every_part(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_empty_files(Path(folder), {f"class{i}": count for i, count in enumerate(counts)})
        dataset = find_dataset(Data(path=root, validation_fraction=validation, test_fraction=test), seed)
        paths = everything(dataset)
        assert sorted(paths) == sorted(root.rglob("*.png"))
        assert len(set(paths)) == len(paths)
        for split in ("train", "val", "test"):
            assert all(count >= 1 for count in per_class(dataset, split))
            assert names(dataset, split) == sorted(names(dataset, split))
        for drawn, count in zip(per_class(dataset, "test"), counts, strict=True):
            assert drawn == min(max(1, round(test * count)), count - 2)
