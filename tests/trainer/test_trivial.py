"""TrivialAugment draws one change per image, and each change is Pillow's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from trainer.augment import augment
from trainer.recipe import Augment
from trainer.trivial import (
    LEVELS,
    OPERATIONS,
    Draw,
    autocontrast,
    draw,
    equalize,
    posterize,
    retouch,
    sharpen,
    solarize,
)


def photos(count: int = 5, side: int = 24) -> torch.Tensor:
    """Return images with a slope of light and noise, of uneven histograms."""
    chance = torch.Generator().manual_seed(3)
    slope = torch.linspace(20, 180, side)[None, :, None, None] ** torch.linspace(0.8, 1.02, count)[:, None, None, None]
    noise = torch.randint(0, 50, (count, side, side, 3), generator=chance)
    return (slope + noise).clamp(0, 255).to(torch.uint8)


def by_pillow(change: Callable[[Image.Image], Image.Image], images: torch.Tensor) -> torch.Tensor:
    changed = [bytearray(change(Image.fromarray(image.numpy())).tobytes()) for image in images]
    return torch.stack([torch.frombuffer(pixels, dtype=torch.uint8) for pixels in changed]).view(images.shape).float()


@pytest.mark.parametrize(
    ("ours", "pillows", "tolerance"),
    [
        (equalize, ImageOps.equalize, 0),
        (autocontrast, ImageOps.autocontrast, 1),
        (lambda x: posterize(x, torch.tensor(5.0)), lambda image: ImageOps.posterize(image, 3), 0),
        (lambda x: solarize(x, torch.tensor(100.0)), lambda image: ImageOps.solarize(image, 100), 0),
        (lambda x: sharpen(x, torch.full((5,), 1.7)), lambda image: ImageEnhance.Sharpness(image).enhance(1.7), 2),
        (lambda x: sharpen(x, torch.full((5,), 0.2)), lambda image: ImageEnhance.Sharpness(image).enhance(0.2), 2),
    ],
    ids=["equalize", "autocontrast", "posterize", "solarize", "sharper", "softer"],
)
def test_a_change_is_pillows(ours: Any, pillows: Any, tolerance: int) -> None:
    expected = by_pillow(pillows, photos())
    changed = ours(photos().float())
    assert (changed - expected).abs().max() <= tolerance
    assert (expected - photos().float()).abs().max() > 10, "a change that changes nothing proves nothing"


@pytest.mark.parametrize("change", [equalize, autocontrast])
def test_an_image_of_one_colour_stays(change: Any) -> None:
    flat = torch.full((2, 8, 8, 3), 90.0)
    assert torch.equal(change(flat), flat)


def test_every_operation_is_drawn_about_equally_often_at_every_strength() -> None:
    drawn = draw(14_000, torch.Generator().manual_seed(0))
    assert all(800 < int(count) < 1200 for count in drawn.operation.bincount(minlength=len(OPERATIONS)))
    assert len(set(drawn.strength.tolist())) == LEVELS
    assert (float(drawn.strength.min()), float(drawn.strength.max())) == (0.0, 1.0)
    assert set(drawn.sign.tolist()) == {-1.0, 1.0}


def only(name: str, count: int, strength: float = 0.6) -> Draw:
    return Draw(torch.full((count,), OPERATIONS.index(name)), torch.full((count,), strength), torch.ones(count))


def test_images_are_retouched_by_what_they_drew_alone() -> None:
    images = photos(len(OPERATIONS))
    mixed = Draw(torch.arange(len(OPERATIONS)), torch.full((14,), 0.6), torch.ones(14))
    together = retouch(images, mixed)
    before = images.clone()
    for index, name in enumerate(OPERATIONS):
        alone = retouch(images, only(name, len(images)))[index]
        assert torch.equal(together[index], alone), name
        touched = name in ("sharpness", "posterize", "solarize", "autocontrast", "equalize")
        assert torch.equal(alone, images[index].float()) != touched, name
    assert torch.equal(images, before)


def test_each_image_of_a_batch_gets_its_own_change() -> None:
    images = photos(1).expand(200, -1, -1, -1)
    settings = Augment(trivial_augment=True)
    changed = augment(images, settings, torch.Generator().manual_seed(0))
    assert torch.equal(changed, augment(images, settings, torch.Generator().manual_seed(0)))
    assert len({image.numpy().tobytes() for image in changed}) > 120
    unchanged = sum(torch.equal(image, images[0].float()) for image in changed)
    assert 4 <= unchanged <= 40, "one in fourteen draws nothing, and some draw it at no strength"
    assert changed.min() >= 0
    assert changed.max() <= 255
