"""Colours change as Pillow changes them, for each image by its own factor."""

from __future__ import annotations

import colorsys
from typing import Any

import pytest
import torch
from PIL import Image, ImageEnhance

from trainer.augment import augment
from trainer.colour import brightnesses, contrasts, hues, mean_grey, recolour, saturations
from trainer.recipe import Augment


def photos(count: int = 4, side: int = 12) -> torch.Tensor:
    """Return noisy images, each of a colour cast of its own, away from the ends of the range."""
    chance = torch.Generator().manual_seed(3)
    cast = torch.randint(60, 160, (count, 1, 1, 3), generator=chance)
    return (cast + torch.randint(-40, 40, (count, side, side, 3), generator=chance)).to(torch.uint8)


def by_pillow(enhance: Any, images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    changed = [
        torch.frombuffer(
            bytearray(enhance(Image.fromarray(image.numpy())).enhance(float(f)).tobytes()), dtype=torch.uint8
        )
        for image, f in zip(images, factors, strict=True)
    ]
    return torch.stack(changed).view(images.shape).float()


FACTORS = torch.tensor([0.4, 0.9, 1.3, 1.6])


def test_brightness_is_pillows() -> None:
    changed = recolour(photos(), brightnesses(FACTORS))
    assert (changed - by_pillow(ImageEnhance.Brightness, photos(), FACTORS)).abs().max() <= 1


def test_contrast_is_pillows() -> None:
    unchanged = torch.eye(4).repeat(4, 1, 1)
    changed = recolour(photos(), contrasts(FACTORS, mean_grey(photos(), unchanged)))
    assert (changed - by_pillow(ImageEnhance.Contrast, photos(), FACTORS)).abs().max() <= 2


def test_saturation_is_pillows() -> None:
    changed = recolour(photos(), saturations(FACTORS))
    assert (changed - by_pillow(ImageEnhance.Color, photos(), FACTORS)).abs().max() <= 2


def test_a_third_of_the_colour_circle_turns_red_to_green_to_blue() -> None:
    red, green, blue = torch.eye(3).mul(255).unbind()
    turned = recolour(torch.stack([red, green, blue]).view(3, 1, 1, 3), hues(torch.full((3,), 1 / 3)))
    assert torch.allclose(turned.view(3, 3), torch.stack([green, blue, red]), atol=1e-2)


def test_a_small_turn_moves_the_hue_and_keeps_grey_and_the_sum() -> None:
    colours = torch.tensor([[150.0, 100.0, 90.0], [90.0, 130.0, 100.0], [128.0, 128.0, 128.0]])
    turned = recolour(colours.view(3, 1, 1, 3), hues(torch.full((3,), 0.05))).view(3, 3)
    assert torch.allclose(turned.sum(1), colours.sum(1), atol=1e-3)
    assert torch.allclose(turned[2], colours[2], atol=1e-3)
    for new, old in zip(turned[:2].tolist(), colours[:2].tolist(), strict=True):
        moved = (colorsys.rgb_to_hsv(*new)[0] - colorsys.rgb_to_hsv(*old)[0]) % 1
        assert moved == pytest.approx(0.05, abs=0.02)


def test_changes_of_colour_are_one_map() -> None:
    """Two maps multiplied do what they do one after the other."""
    gentle = torch.tensor([0.9, 0.95, 1.05, 1.1])  # nothing is cut off between the steps
    first = brightnesses(gentle)
    brighter = recolour(photos(), first)
    step = recolour(brighter, contrasts(gentle, mean_grey(brighter, torch.eye(4).repeat(4, 1, 1))))
    stepwise = recolour(step, saturations(gentle))
    both = saturations(gentle) @ contrasts(gentle, mean_grey(photos(), first)) @ first
    assert torch.allclose(recolour(photos(), both), stepwise, atol=1e-2)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_setting_changes_colours_alone_and_each_image_by_itself(name: str) -> None:
    images = photos(1).expand(32, -1, -1, -1)
    settings = Augment.model_validate({name: 0.3})
    changed = augment(images, settings, torch.Generator().manual_seed(0))
    assert len({image.numpy().tobytes() for image in changed}) == 32
    means = changed.mean((1, 2))
    spread = {
        "brightness": means.sum(1),
        "contrast": changed.std((1, 2)).sum(1),
        "saturation": means.amax(1) - means.amin(1),
        "hue": means[:, 0] - means[:, 1],
    }[name]
    assert float(spread.max() - spread.min()) > 0.05 * float(spread.abs().mean())
    if name in ("saturation", "contrast"):
        grey = means @ torch.tensor([0.299, 0.587, 0.114])
        assert torch.allclose(grey, grey.mean(), atol=1.0)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_setting_bounds_its_factor(name: str) -> None:
    """The factor is read off a pixel: bright against its mean, coloured against its grey."""
    image = torch.full((400, 2, 2, 3), 100, dtype=torch.uint8)
    image[:, 0, 0] = torch.tensor([110, 100, 90], dtype=torch.uint8)
    changed = augment(image, Augment.model_validate({name: 0.5}), torch.Generator().manual_seed(0))
    red, blue, plain = changed[:, 0, 0, 0], changed[:, 0, 0, 2], changed[:, 1, 1, 0]
    factors = plain / 100 if name == "brightness" else (red - blue) / 20
    assert float(factors.min()) >= 0.5 - 1e-4
    assert float(factors.min()) < 0.53
    assert 1.47 < float(factors.max()) <= 1.5 + 1e-4
