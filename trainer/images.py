"""Decode a split once into one uint8 tensor, through the same `load_image` that the service calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from linnet.cpu import usable_cpus
from linnet.errors import ImageError
from linnet.preprocess import PreprocessSpec, load_image
from trainer.data import Example
from trainer.errors import UnreadableFiles

Advance = Callable[[int], None]


def decode(examples: Sequence[Example], spec: PreprocessSpec, advance: Advance = lambda _: None) -> torch.Tensor:
    """Return the images as uint8 [N, H, W, 3], in order; `advance` is told of every image done.

    Raises `UnreadableFiles`, after all files were tried.
    """
    pixels = np.empty((len(examples), spec.size_px, spec.size_px, 3), dtype=np.uint8)
    failures: dict[int, str] = {}

    def decode_one(index: int) -> None:
        try:
            pixels[index] = load_image(examples[index].path.read_bytes(), spec)
        except (ImageError, OSError) as error:
            failures[index] = str(error)
        advance(1)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        list(pool.map(decode_one, range(len(examples)), chunksize=64))
    if failures:
        indices = sorted(failures)
        raise UnreadableFiles([examples[index].path for index in indices], failures[indices[0]])
    return torch.from_numpy(pixels)


def labels_of(examples: Sequence[Example]) -> torch.Tensor:
    """Return the labels as int64 [N]."""
    return torch.tensor([example.label for example in examples], dtype=torch.int64)
