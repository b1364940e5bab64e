"""Augmentation draws for each image anew, by the seed alone, and stays within the range of pixels."""

from __future__ import annotations

import pytest
import torch

from trainer.augment import augment
from trainer.recipe import Augment

EVERYTHING = Augment(flip=True, shift=0.2, zoom=0.5, erase=0.3)


def noise(count: int = 16, height: int = 12, width: int = 10) -> torch.Tensor:
    chance = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=chance)


def changed(images: torch.Tensor, settings: Augment, seed: int = 0) -> torch.Tensor:
    return augment(images, settings, torch.Generator().manual_seed(seed))


def test_nothing_is_changed_unless_told() -> None:
    images = noise()
    assert torch.equal(changed(images, Augment()), images)


@pytest.mark.parametrize(
    "settings", [EVERYTHING, Augment(flip=True), Augment(shift=0.2), Augment(zoom=0.5), Augment(erase=0.3)]
)
def test_the_seed_decides_and_nothing_else(settings: Augment) -> None:
    images = noise()
    before = images.clone()
    first = changed(images, settings)
    torch.rand(7)  # the global generator has no say
    assert torch.equal(changed(images, settings), first)
    assert not torch.equal(changed(images, settings, seed=1), first)
    assert torch.equal(images, before), "the data set itself is not to be changed"
    assert first.shape == images.shape


@pytest.mark.parametrize("settings", [Augment(shift=0.3), Augment(zoom=0.4), Augment(erase=0.3)])
def test_each_image_is_drawn_for_itself(settings: Augment) -> None:
    images = noise(1).expand(32, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in changed(images, settings)}) > 16


@pytest.mark.parametrize("settings", [Augment(flip=True), Augment(shift=0.5), Augment(erase=0.5)])
def test_whole_pixel_changes_stay_uint8(settings: Augment) -> None:
    assert changed(noise(), settings).dtype == torch.uint8


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = noise(400)
    flipped = changed(images, Augment(flip=True))
    kept = sum(torch.equal(new, old) for new, old in zip(flipped, images, strict=True))
    mirrored = sum(torch.equal(new, old.flip(1)) for new, old in zip(flipped, images, strict=True))
    assert kept + mirrored == 400
    assert 150 < mirrored < 250


def test_a_shift_moves_by_whole_pixels_and_mirrors_the_edge() -> None:
    images = noise(64)
    # torch's reflection padding, which does not repeat the edge either, is the measure: 20 % of 12 rows, of 10 columns.
    rows, columns = 2, 2
    padded = torch.nn.functional.pad(
        images.permute(0, 3, 1, 2).float(), (columns, columns, rows, rows), mode="reflect"
    ).permute(0, 2, 3, 1)
    seen = set()
    for index, image in enumerate(changed(images, Augment(shift=0.2))):
        matches = [
            (top - rows, left - columns)
            for top in range(2 * rows + 1)
            for left in range(2 * columns + 1)
            if torch.equal(padded[index, top : top + 12, left : left + 10], image.float())
        ]
        assert len(matches) == 1, f"image {index} is no shift of itself"
        seen.add(matches[0])
    assert {row for row, _ in seen} == {column for _, column in seen} == {-2, -1, 0, 1, 2}


def test_the_largest_shift_stays_inside() -> None:
    images = noise(64, height=9, width=9)
    assert changed(images, Augment(shift=0.5)).shape == images.shape


def test_a_zoom_cuts_out_a_part_and_keeps_the_range() -> None:
    images = noise(64)
    zoomed = changed(images, Augment(zoom=0.3))
    assert zoomed.dtype == torch.float32
    assert zoomed.shape == images.shape
    low, high = images.amin((1, 2)).float(), images.amax((1, 2)).float()
    assert (zoomed >= low[:, None, None] - 1e-3).all()
    assert (zoomed <= high[:, None, None] + 1e-3).all()


def test_a_zoom_magnifies_by_no_more_than_told() -> None:
    """On a ramp of slope 1 per pixel, the slope after the zoom is the side of what was cut out, as a share."""
    ramp = torch.arange(40, dtype=torch.uint8)[None, None, :, None].expand(256, 40, 40, 3)
    zoomed = changed(ramp, Augment(zoom=0.36))
    slopes = zoomed[:, 20, 25, 0] - zoomed[:, 20, 24, 0]
    assert slopes.min() >= 0.6 - 1e-3
    assert slopes.max() <= 1 + 1e-3
    assert slopes.min() < 0.65
    assert slopes.max() > 0.95


def test_an_eraser_blanks_one_square() -> None:
    images = noise(200, height=20, width=20).clamp(max=127)
    for old, new in zip(images, changed(images, Augment(erase=0.3)), strict=True):
        blank = (new == 128).all(-1)
        assert torch.equal(new[~blank], old[~blank])
        rows, columns = blank.any(1).sum(), blank.any(0).sum()
        assert blank.sum() == rows * columns, "the blank part is no rectangle"
        assert 1 <= rows <= 6  # 30 % of 20, less where it hangs over the edge
        assert 1 <= columns <= 6


def test_all_together_stay_in_the_range_of_pixels() -> None:
    images = changed(noise(64), EVERYTHING)
    assert images.min() >= 0
    assert images.max() <= 255
