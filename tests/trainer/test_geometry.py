"""Each map moves a known mark to where its name says, and all of them together resample once."""

from __future__ import annotations

import pytest
import torch

from trainer.augment import augment
from trainer.geometry import crops, rotations, scalings, shears, shifts, warp
from trainer.recipe import Augment

SIDE = 41
CENTRE = SIDE // 2


def mark(row: int, column: int, height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    """Return an image [1, H, W, 3] that is black but for a bright spot of 3 × 3."""
    image = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    image[:, row - 1 : row + 2, column - 1 : column + 2] = 240
    return image


def centre_of_mass(image: torch.Tensor) -> tuple[float, float]:
    """Return row and column of the light of an image [1, H, W, 3]."""
    light = image[0].float().sum(2)
    rows, columns = torch.arange(light.shape[0]), torch.arange(light.shape[1])
    return float((light.sum(1) * rows).sum() / light.sum()), float((light.sum(0) * columns).sum() / light.sum())


def one(value: float) -> torch.Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize(
    ("maps", "place"),
    [
        (rotations(one(90.0), 1.0), (CENTRE + 10, CENTRE)),  # from 3 o'clock to 6
        (rotations(one(-90.0), 1.0), (CENTRE - 10, CENTRE)),
        (rotations(one(45.0), 1.0), (CENTRE + 7.07, CENTRE + 7.07)),
        (scalings(one(1.5)), (CENTRE, CENTRE + 15)),
        (scalings(one(0.5)), (CENTRE, CENTRE + 5)),
        (shifts(one(0.0), one(8 / SIDE)), (CENTRE + 8, CENTRE + 10)),
        (shifts(one(-8 / SIDE), one(0.0)), (CENTRE, CENTRE + 2)),
        (shears(one(0.0), one(0.5)), (CENTRE - 5, CENTRE + 10)),
    ],
)
def test_a_mark_right_of_the_centre_moves_as_told(maps: torch.Tensor, place: tuple[float, float]) -> None:
    assert centre_of_mass(warp(mark(CENTRE, CENTRE + 10), maps, "zeros")) == pytest.approx(place, abs=0.1)


def test_a_shear_moves_rows_by_their_distance_from_the_centre() -> None:
    maps = shears(one(0.5), one(0.0))
    assert centre_of_mass(warp(mark(CENTRE + 10, CENTRE), maps, "zeros")) == pytest.approx(
        (CENTRE + 10, CENTRE - 5), 0.01
    )
    assert centre_of_mass(warp(mark(CENTRE - 10, CENTRE), maps, "zeros")) == pytest.approx(
        (CENTRE - 10, CENTRE + 5), 0.01
    )


def test_a_rotation_keeps_distances_where_the_sides_differ() -> None:
    wide = mark(20, 40, height=41, width=61)
    turned = warp(wide, rotations(one(90.0), 41 / 61), "zeros")
    assert centre_of_mass(turned) == pytest.approx((30, 30), abs=0.1)


def test_maps_are_carried_out_in_the_order_of_their_product() -> None:
    maps = shifts(one(5 / SIDE), one(0.0)) @ rotations(one(90.0), 1.0)
    moved = warp(mark(CENTRE, CENTRE + 10), maps, "zeros")
    assert centre_of_mass(moved) == pytest.approx((CENTRE + 15, CENTRE), abs=0.1)


def test_a_crop_lies_inside_and_has_the_area_it_was_told() -> None:
    maps = crops(0.25, 500, torch.Generator().manual_seed(0))
    side, centre = maps[:, 0, 0], maps[:, :2, 2]
    assert 0.25 <= float(side.square().min()) < 0.27
    assert 0.98 < float(side.square().max()) <= 1
    assert float((centre.abs() + side[:, None]).max()) <= 1 + 1e-6


def test_what_does_not_move_is_copied_bit_for_bit_and_the_source_stays() -> None:
    images = torch.randint(0, 256, (6, 9, 9, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    warped = warp(images, rotations(torch.tensor([0.0, 30.0, 0.0, 60.0, 0.0, 0.0]), 1.0), "reflection")
    same = [torch.equal(new, old.float()) for new, old in zip(warped, images, strict=True)]
    assert same == [True, False, True, False, True, True]
    assert torch.equal(images, before)
    floats = images.float()
    warp(floats, rotations(torch.full((6,), 45.0), 1.0), "zeros")
    assert torch.equal(floats, before.float())


def test_edges_are_mirrored_or_black() -> None:
    white = torch.full((32, 20, 20, 3), 255, dtype=torch.uint8)
    for name, value in (("rotate", 30.0), ("scale", 0.4), ("shift", 0.3)):
        mirrored = Augment.model_validate({name: value})
        black = Augment.model_validate({name: value, "edges": "black"})
        assert augment(white, mirrored, torch.Generator().manual_seed(0)).float().min() > 254.9, name
        assert augment(white, black, torch.Generator().manual_seed(0)).min() == 0, name


def test_a_padded_crop_is_torchs_padding_cut_out() -> None:
    images = torch.randint(1, 256, (64, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images.permute(0, 3, 1, 2), (4, 4, 4, 4)).permute(0, 2, 3, 1)
    cropped = augment(images, Augment(shift=0.25, edges="black"), torch.Generator().manual_seed(0))
    assert cropped.dtype == torch.uint8
    seen = set()
    for index, image in enumerate(cropped):
        places = [
            (r, c) for r in range(9) for c in range(9) if torch.equal(padded[index, r : r + 16, c : c + 16], image)
        ]
        assert len(places) == 1, f"image {index} is no crop of its padding"
        seen.add(places[0])
    assert {row for row, _ in seen} == {column for _, column in seen} == set(range(9))


@pytest.mark.parametrize(
    ("settings", "low", "high"), [(Augment(rotate=20.0), -20, 20), (Augment(rotate=180.0), -180, 180)]
)
def test_rotations_are_drawn_from_the_whole_range(settings: Augment, low: float, high: float) -> None:
    images = mark(CENTRE, CENTRE + 14).expand(200, -1, -1, -1)
    turned = augment(images, settings.model_copy(update={"edges": "black"}), torch.Generator().manual_seed(0))
    places = torch.tensor([centre_of_mass(image[None]) for image in turned]) - CENTRE
    degrees = torch.rad2deg(torch.atan2(places[:, 0], places[:, 1]))
    span = high - low
    assert low - 1 <= float(degrees.min()) < low + 0.1 * span
    assert high - 0.1 * span < float(degrees.max()) <= high + 1
    assert torch.allclose(places.norm(dim=1), torch.tensor(14.0), atol=0.2)


def test_scaling_goes_both_ways() -> None:
    images = mark(CENTRE, CENTRE + 10).expand(200, -1, -1, -1)
    scaled = augment(images, Augment(scale=0.3, edges="black"), torch.Generator().manual_seed(0))
    factors = torch.tensor([centre_of_mass(image[None])[1] - CENTRE for image in scaled]) / 10
    assert 0.69 <= float(factors.min()) < 0.75
    assert 1.25 < float(factors.max()) <= 1.31
