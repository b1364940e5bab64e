"""The images an export works with, each decoded once through `load_image`, or by the training before."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch

from export.measure import Labels
from linnet.preprocess import PreprocessSpec
from trainer.data import Dataset, Example
from trainer.image_cache import decode_cached
from trainer.images import decode, labels_of
from trainer.progress import Reporter

LARGEST_SAMPLE = 2000  # training images: ranges of activations, and what is remembered of them


@dataclass(frozen=True)
class Material:
    """A sample of the training split, in random order, and the whole of the others; images uint8 [N, H, W, 3].

    Every choice is made on the first two. The test split is measured and decides nothing.
    """

    train: torch.Tensor
    val: torch.Tensor
    val_labels: Labels
    test: torch.Tensor
    test_labels: Labels


def decode_material(
    dataset: Dataset, spec: PreprocessSpec, seed: int, cache: Path | None, reporter: Reporter
) -> Material:
    """Decode what is needed of a run's images; the same seed takes the same sample.

    The whole splits are taken from the folder `cache` and kept there, if one is named. Raises `UnreadableFiles` or
    `DiskFull`.
    """
    sample = sample_training_images(dataset, seed)
    reporter.start("decode", len(sample) + len(dataset.val) + len(dataset.test))
    train = decode(sample, spec, reporter.advance)
    val, test = (
        decode_cached(examples, [dataset.digests[example.path] for example in examples], spec, cache, reporter.advance)
        for examples in (dataset.val, dataset.test)
    )
    return Material(train, val, labels_of(dataset.val).numpy(), test, labels_of(dataset.test).numpy())


def sample_training_images(dataset: Dataset, seed: int) -> list[Example]:
    """Return some of the training split, in random order; the same seed takes the same."""
    return random.Random(f"{seed}/export").sample(dataset.train, min(LARGEST_SAMPLE, len(dataset.train)))
