"""The images of a run as its network sees them, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from linnet.preprocess import PreprocessSpec
from trainer.data import Dataset, Example
from trainer.images import decode
from trainer.report.charts import MOST_LABELLED_CLASSES, draw_balance, to_png
from trainer.report.material import Absent, Material
from trainer.report.mosaic import Pixels, draw_rows
from trainer.report.page import Block, Notice, Picture, Section, Text

SAMPLED_CLASSES = 12
SAMPLES = 8


def data_section(material: Material) -> Section:
    """Show some training images of each class, and how many there are."""
    record, dataset = material.record, material.dataset
    sizes = ", ".join(f"{count:,} {name}" for name, count in record.split_sizes.items())
    described = record.recipe.data.description or record.recipe.data.path.name
    text = f"{described}: {len(record.classes)} classes; {sizes} images; {record.data_origin}."
    if record.recipe.data.licence:
        text += f" Licence: {record.recipe.data.licence}."
    blocks: list[Block] = [Text(text)]
    if isinstance(dataset, Absent):
        return Section("Data", [*blocks, Notice(f"No images and no class balance can be shown. {dataset.reason}")])
    return Section("Data", [*blocks, samples_picture(dataset, record.preprocess), balance_picture(dataset)])


def load_pixels(examples: Sequence[Example], indices: Sequence[int], spec: PreprocessSpec) -> torch.Tensor:
    """Return the images of a split at `indices`, uint8 [N, H, W, 3], as the network sees them."""
    return decode([examples[index] for index in indices], spec)


def as_pixels(images: torch.Tensor) -> list[Pixels]:
    """Return a tensor of images uint8 [N, H, W, 3] as arrays."""
    return list(images.numpy())


def spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` indices below `count`, evenly apart."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, wanted)).round()})


def samples_picture(dataset: Dataset, spec: PreprocessSpec) -> Picture:
    """Show some training images of each class as the network sees them."""
    shown = spread(len(dataset.classes), SAMPLED_CLASSES)
    rows = []
    for label in shown:
        members = [index for index, example in enumerate(dataset.train) if example.label == label]
        chosen = [members[place] for place in spread(len(members), SAMPLES)]
        rows.append(as_pixels(load_pixels(dataset.train, chosen, spec)))
    names = [dataset.classes[label] for label in shown]
    some = f" {len(shown)} of the {len(dataset.classes)} classes." if len(shown) < len(dataset.classes) else ""
    caption = f"Training images as the network sees them, {spec.size_px} px, before augmentation.{some}"
    return Picture("samples", to_png(draw_rows(rows, names)), caption)


def balance_picture(dataset: Dataset) -> Picture:
    """Show how many images of each class each split has."""
    splits = {"training": dataset.train, "validation": dataset.val, "test": dataset.test}
    counts = {
        name: np.bincount([example.label for example in split], minlength=len(dataset.classes)).tolist()
        for name, split in splits.items()
    }
    totals = np.array(list(counts.values())).sum(0)
    shown = min(len(totals), MOST_LABELLED_CLASSES)
    some = "each class" if shown == len(totals) else f"the first {shown} of {len(totals)} classes"
    caption = (
        f"Images of {some}. The largest class has {totals.max():,}, the smallest {totals.min():,}: "
        f"{totals.max() / totals.min():.2f} to 1."
    )
    return Picture("balance", to_png(draw_balance(dataset.classes, counts)), caption)
