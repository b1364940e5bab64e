"""Which files below a folder are images: the same to training, `linnet predict` and `linnet score`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from linnet.preprocess import IMAGE_SUFFIXES


def images_in(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Walk a folder in order, through links but in no circle, and without what is hidden; raises `OSError`."""
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as scan:
        entries = sorted((entry.name, entry.is_dir()) for entry in scan)
    for name, is_folder in entries:
        if is_folder and not name.startswith("."):
            yield from images_in(folder / name, above | {here})
        elif is_image_name(name) and (folder / name).is_file():
            yield folder / name


def is_image_name(name: str) -> bool:
    """Tell by its suffix whether a file that is not hidden is an image."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
