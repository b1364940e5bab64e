"""Makes image trees for tests: noisy pictures whose colour tells the class, or empty files where nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 190), "green": (50, 180, 70), "red": (190, 60, 50)}


def write_photos(root: Path, counts: Mapping[str, int], *, side_px: int = 40, seed: int = 0) -> Path:
    """Write `root/<class>/NNN.jpg` for each class of `COLOURS` named, and return `root`."""
    chance = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise = chance.normal(0, 40, (side_px, side_px + number % 5, 3))
            pixels = (np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:03d}.jpg", quality=90)
    return root


def write_empty_files(root: Path, counts: Mapping[str, int]) -> Path:
    """Write `root/<class>/NNN.png` without content, and return `root`."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:03d}.png").touch()
    return root


def recipe_text(data: Path, weights: Path) -> str:
    """Return a recipe over the photos at `data` that takes seconds: the head, then the last two blocks."""
    return f"""
name = "colours"
seed = 3

[data]
path = "{data}"
validation_fraction = 0.25

[preprocess]
size_px = 33

[network]
weights = "{weights}"

[[phase]]
name = "head"
unfreeze = "head"
epochs = 6
batch_size = 8
optim = {{ lr = 3e-3 }}

[[phase]]
name = "tail"
unfreeze = "2 blocks"
epochs = 3
batch_size = 8
optim = {{ lr = 5e-4, ema_decay = 0.5 }}
augment = {{ flip = true, shift = 0.1 }}
"""
