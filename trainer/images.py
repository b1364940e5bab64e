"""Decode a split once into uint8, through the same `load_image` that the service calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from linnet.cpu import usable_cpus
from linnet.errors import ImageError
from linnet.preprocess import PreprocessSpec, load_image
from trainer.data import Example
from trainer.errors import UnreadableFiles

CHUNK_BYTES = 2**26

Advance = Callable[[int], None]


def decode(examples: Sequence[Example], spec: PreprocessSpec, advance: Advance = lambda _: None) -> torch.Tensor:
    """Return the images as uint8 [N, H, W, 3], in order; `advance` is told of every image done.

    Raises `UnreadableFiles`, after all files were tried.
    """
    pixels = np.empty((len(examples), spec.size_px, spec.size_px, 3), dtype=np.uint8)
    done = 0
    for chunk in decode_in_chunks(examples, spec, advance):
        pixels[done : done + len(chunk)] = chunk
        done += len(chunk)
    return torch.from_numpy(pixels)


def decode_in_chunks(
    examples: Sequence[Example], spec: PreprocessSpec, advance: Advance
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images in order, as many at a time as need little memory, uint8 [n, H, W, 3].

    Raises `UnreadableFiles`, after all files were tried.
    """
    size = max(1, CHUNK_BYTES // (3 * spec.size_px**2))
    failures: dict[int, str] = {}

    def decode_one(index: int, pixels: npt.NDArray[np.uint8]) -> None:
        try:
            pixels[index % size] = load_image(examples[index].path.read_bytes(), spec)
        except (ImageError, OSError) as error:
            failures[index] = str(error)
        advance(1)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(examples), size):
            indices = range(start, min(start + size, len(examples)))
            pixels = np.empty((len(indices), spec.size_px, spec.size_px, 3), dtype=np.uint8)
            list(pool.map(decode_one, indices, [pixels] * len(indices)))
            yield pixels
    if failures:
        unreadable = sorted(failures)
        raise UnreadableFiles([examples[index].path for index in unreadable], failures[unreadable[0]])


def labels_of(examples: Sequence[Example]) -> torch.Tensor:
    """Return the labels as int64 [N]."""
    return torch.tensor([example.label for example in examples], dtype=torch.int64)
