"""A split is decoded by the function that the service calls, in order, and all or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from linnet.preprocess import PreprocessSpec, load_image
from tests.trainer.trees import write_photos
from trainer.data import Example
from trainer.errors import UnreadableFiles
from trainer.images import decode, labels_of

SPEC = PreprocessSpec(size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def examples(root: Path, count: int) -> list[Example]:
    write_photos(root, {"red": count, "blue": count})
    return [Example(path, int(path.parent.name == "red")) for path in sorted(root.rglob("*.jpg"), reverse=True)]


def test_decoding_is_load_image_in_order(tmp_path: Path) -> None:
    split = examples(tmp_path, 9)
    done: list[int] = []
    images = decode(split, SPEC, done.append)
    assert images.dtype == torch.uint8
    assert images.shape == (18, 16, 16, 3)
    for image, example in zip(images, split, strict=True):
        assert torch.equal(image, torch.from_numpy(load_image(example.path.read_bytes(), SPEC).copy()))
    assert done == [1] * 18
    assert len({image.numpy().tobytes() for image in images}) == 18, "images that are alike would hide another order"


def test_labels_keep_the_order(tmp_path: Path) -> None:
    labels = labels_of(examples(tmp_path, 3))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 1, 1, 0, 0, 0]


def test_every_unreadable_file_is_counted_and_the_first_explained(tmp_path: Path) -> None:
    split = examples(tmp_path, 4)
    split[1].path.write_bytes(b"not an image")
    split[3].path.write_bytes(split[3].path.read_bytes()[:200])
    split[4].path.unlink()
    split[6].path.write_bytes(b"")
    with pytest.raises(UnreadableFiles) as caught:
        decode(split, SPEC)
    sentence = str(caught.value)
    shown = ", ".join(str(split[index].path) for index in (1, 3, 4))
    assert sentence.startswith(f"4 of the images cannot be used: {shown} and 1 more. The first: This is not an image")
    assert "\n" not in sentence
