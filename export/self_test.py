"""Choose the stored images by which a service proves that it computes what was measured."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from linnet.manifest import Precision, SelfTestCase
from linnet.preprocess import PreprocessSpec, load_image
from linnet.session import Network
from trainer.data import Example

CASES = 8  # enough that sums which saturate show in one of them
LARGEST_SIDE_PX = 64  # keeps the manifest small; what the picture shows does not matter here


def make_self_test(
    examples: Sequence[Example], spec: PreprocessSpec, networks: dict[Precision, Network]
) -> tuple[SelfTestCase, ...]:
    """Store a few images, spread over `examples`, with what each variant answers to them."""
    positions = np.linspace(0, len(examples) - 1, CASES).round().astype(int)
    stored = [_as_small_png(examples[position]) for position in dict.fromkeys(positions.tolist())]
    images = np.stack([load_image(png, spec) for png in stored])
    answers = {precision: network(images).probabilities for precision, network in networks.items()}
    return tuple(
        SelfTestCase(
            image_png=base64.b64encode(png).decode("ascii"),
            probabilities={
                precision: tuple(round(float(p), 6) for p in rows[index]) for precision, rows in answers.items()
            },
        )
        for index, png in enumerate(stored)
    )


def _as_small_png(example: Example) -> bytes:
    with Image.open(example.path) as image:
        small = image.convert("RGB")
    small.thumbnail((LARGEST_SIDE_PX, LARGEST_SIDE_PX))
    buffer = BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
