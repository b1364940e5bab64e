"""Find the labelled images and split them: which file, which class, which split. Decodes nothing.

A data folder is either flat (one folder per class) or holds the splits `train`, `val` and `test`. Selection always uses
a validation split; where there is no folder for it, it is carved from train, stratified and seeded. The test split is
`test`, or `val` where only that is there (validation is then carved from train all the same, so that the reported
number is not the one selected on), or else carved from all images.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from linnet.image_files import images_in
from linnet.names import require_text
from trainer.cifar10 import unpack_cifar10
from trainer.contents import digest_files
from trainer.errors import (
    ClassesDiffer,
    DataNotFound,
    DuplicateImages,
    EmptyClass,
    SingleImage,
    SplitsUnclear,
    TooFewClasses,
    TooFewImages,
)
from trainer.recipe import Data

TRAIN_NAMES = ("train", "training", "train_set", "training_set")
VALIDATION_NAMES = ("val", "valid", "validation", "val_set", "validation_set")
TEST_NAMES = ("test", "testing", "test_set")


@dataclass(frozen=True)
class Example:
    """One image file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits over one ordered list of classes."""

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    origin: str  # in words: where each split comes from

    @cached_property
    def digests(self) -> dict[Path, str]:
        """Return the SHA-256 of every file; reads them all, once. Raises `UnreadableFiles`."""
        return digest_files([example.path for split in self._splits for example in split])

    @cached_property
    def fingerprint(self) -> str:
        """Return a digest of classes, file names, contents and splits; a resumed run must find the same."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for split in self._splits:
            for example in split:
                name = "/".join(example.path.parts[-3:])
                digest.update(f"{name} {self.digests[example.path]} {example.label}\n".encode())
            digest.update(b"--\n")
        return digest.hexdigest()

    def refuse_duplicates(self) -> None:
        """Raise `DuplicateImages` if a file's content is in more than one split."""
        first_with: dict[str, tuple[Path, int]] = {}
        pairs = []
        for number, split in enumerate(self._splits):
            for example in split:
                path, its_split = first_with.setdefault(self.digests[example.path], (example.path, number))
                if its_split != number:
                    pairs.append((path, example.path))
        if pairs:
            raise DuplicateImages(pairs)

    @property
    def _splits(self) -> tuple[tuple[Example, ...], ...]:
        return self.train, self.val, self.test


def find_dataset(data: Data, seed: int) -> Dataset:
    """Find and split the images of a recipe; `data.fraction` thins out the training split alone.

    Raises a `DataError`: nothing there, splits by other names than those above, fewer than two classes, an empty class,
    or one too small for every split.
    """
    dataset = _find_splits(data, seed)
    if data.fraction == 1:
        return dataset
    train, _ = _carve(dataset.train, dataset.classes, data.fraction, seed + 2, needed=1)
    return replace(dataset, train=train, origin=f"{dataset.origin}; {data.fraction:g} of the training images are used")


def _find_splits(data: Data, seed: int) -> Dataset:
    root = unpack_cifar10(data.path) if data.source == "cifar10" else data.path
    if not root.is_dir():
        raise DataNotFound(root)
    folders = {path.name.lower(): path for path in _visible_folders(root)}
    train_dir = _first(folders, TRAIN_NAMES)
    val_dir, test_dir = _first(folders, VALIDATION_NAMES), _first(folders, TEST_NAMES)
    if train_dir is None or (val_dir is None and test_dir is None and len(folders) > 1):
        if train_dir or val_dir or test_dir:
            _refuse_splits_as_classes(root)
        return _split_flat(root, data, seed)
    classes, train = scan_classes(train_dir)
    test_folder, val_folder = (test_dir, val_dir) if test_dir else (val_dir, None)
    if test_folder is None:
        return _split_flat(train_dir, data, seed)
    test = _scan_like(test_folder, classes)
    if val_folder is not None:
        _refuse_single_images(train, classes)
        return Dataset(classes, train, _scan_like(val_folder, classes), test, "train, val and test folders")
    val, train = _carve(train, classes, data.validation_fraction, seed, needed=2)
    origin = f"train folder with {data.validation_fraction:g} of it for validation, test split from {test_folder.name}/"
    return Dataset(classes, train, val, test, origin)


def scan_classes(folder: Path) -> tuple[tuple[str, ...], tuple[Example, ...]]:
    """List the classes (folder names, sorted) and images of a class-per-folder tree.

    Other files are passed over, and so is whatever is hidden (thumbnails would put one picture into two splits).
    Raises `TooFewClasses`, `EmptyClass`, `NameNotText`, or `OSError` for a folder that cannot be listed.
    """
    folders = _visible_folders(folder)
    if len(folders) < 2:
        raise TooFewClasses(folder, [path.name for path in folders])
    examples: list[Example] = []
    for label, class_folder in enumerate(folders):
        images = list(images_in(class_folder))
        if not images:
            raise EmptyClass(class_folder)
        examples += [Example(require_text(path), label) for path in images]
    return tuple(path.name for path in folders), tuple(examples)


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _refuse_splits_as_classes(root: Path) -> None:
    """Raise `SplitsUnclear` where every folder is divided into the same ones; some folder has a split's name."""
    folders = _visible_folders(root)
    first, *others = [[path.name for path in _visible_folders(folder)] for folder in folders]
    if others and len(first) > 1 and all(names == first for names in others):
        raise SplitsUnclear(root, [folder.name for folder in folders], first)


def _refuse_single_images(train: Sequence[Example], classes: Sequence[str]) -> None:
    counts = Counter(example.label for example in train)
    for label, name in enumerate(classes):
        if counts[label] == 1:
            raise SingleImage(name)


def _first(folders: dict[str, Path], names: Sequence[str]) -> Path | None:
    return next((folders[name] for name in names if name in folders), None)


def _scan_like(folder: Path, classes: tuple[str, ...]) -> tuple[Example, ...]:
    found, examples = scan_classes(folder)
    if found != classes:
        missing = [name for name in classes if name not in found]
        raise ClassesDiffer(folder, missing, [name for name in found if name not in classes])
    return examples


def _split_flat(folder: Path, data: Data, seed: int) -> Dataset:
    classes, everything = scan_classes(folder)
    test, rest = _carve(everything, classes, data.test_fraction, seed, needed=3)
    val, train = _carve(rest, classes, data.validation_fraction, seed + 1, needed=2)
    shares = f"{data.test_fraction:g} of it for the test, {data.validation_fraction:g} of the rest for validation"
    return Dataset(classes, train, val, test, f"one folder, {shares}")


def _carve(
    examples: Sequence[Example], classes: Sequence[str], fraction: float, seed: int, *, needed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Draw `fraction` of each class (at least one image): the drawn and the rest, both in the original order."""
    by_label: dict[int, list[Example]] = defaultdict(list)
    for example in examples:
        by_label[example.label].append(example)
    drawn: set[Path] = set()
    for label, name in enumerate(classes):
        members = by_label[label]
        if len(members) < needed:
            raise TooFewImages(name, len(members), needed)
        count = min(max(1, round(fraction * len(members))), len(members) - needed + 1)
        drawn.update(member.path for member in random.Random(f"{seed}/{name}").sample(members, count))
    chosen = tuple(example for example in examples if example.path in drawn)
    return chosen, tuple(example for example in examples if example.path not in drawn)
