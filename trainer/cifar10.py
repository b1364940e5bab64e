"""CIFAR-10 as torchvision downloads it, laid out as a class-per-folder tree of PNG files like any other data set."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import first_line
from trainer.errors import CannotDownload

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

TREE = "cifar10-png"


def unpack_cifar10(root: Path) -> Path:
    """Return `root/cifar10-png/{train,test}/{class}/NNNN.png`; download and write it if it is not there yet.

    Raises `CannotDownload`.
    """
    from torchvision.datasets import CIFAR10

    tree = root / TREE
    if tree.is_dir():
        return tree
    root.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{TREE}-", dir=root))
    try:
        for split in ("train", "test"):
            try:
                images = CIFAR10(str(root), train=split == "train", download=True)
            except (OSError, RuntimeError) as error:
                raise CannotDownload("CIFAR-10", root, first_line(error)) from error
            _write_split(images, staging / split)
        staging.chmod(0o755)
        try:
            staging.rename(tree)
        except OSError:
            if not tree.is_dir():  # else another process has finished it first
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return tree


def _write_split(images: CIFAR10, folder: Path) -> None:
    counts: Counter[str] = Counter()
    for name in images.classes:
        (folder / name).mkdir(parents=True)
    for image, label in images:
        name = images.classes[label]
        image.save(folder / name / f"{counts[name]:04d}.png")
        counts[name] += 1
