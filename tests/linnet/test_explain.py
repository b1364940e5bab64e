"""A map points at what the answer rests on, by either way, and its picture shows it there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from linnet.explain import (
    COVER,
    OCCLUSION_CELLS,
    grid_from_cam,
    grid_from_occlusions,
    occlusions,
    overlay,
)

SIDE = 70
PATCH = (slice(50, 70), slice(0, 20))  # lower left


def picture() -> npt.NDArray[np.uint8]:
    """Return a grey image with a red patch in its lower left corner."""
    image = np.full((SIDE, SIDE, 3), 120, np.uint8)
    image[PATCH] = (250, 20, 20)
    return image


def red_of(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:  # [N, H, W]
    """Return what a network that looks for red sees."""
    return np.asarray((images[..., 0].astype(np.float32) - images[..., 1]).clip(0) / 255, np.float32)


def by_cam(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    red = red_of(image[None])[0, ::10, ::10]
    return grid_from_cam(np.stack([-red, red]), 1)


def by_occlusion(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    whole, *covered = red_of(np.concatenate([image[None], occlusions(image)])).mean((1, 2)) / 0.1
    return grid_from_occlusions(float(whole), np.array(covered, np.float32))


@pytest.mark.parametrize("explain", [by_cam, by_occlusion])
def test_the_map_points_at_the_evidence(
    explain: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
) -> None:
    grid = explain(picture())
    assert grid.dtype == np.float32
    assert grid.shape == (7, 7)
    assert (grid.min(), grid.max()) == (0, 1)
    row, column = np.unravel_index(grid.argmax(), grid.shape)
    assert row >= 5
    assert column <= 1
    assert grid[:4].max() == grid[:, 4:].max() == 0


def test_nothing_speaks_for_what_is_not_there() -> None:
    assert not grid_from_cam(np.full((2, 3, 3), -1, np.float32), 0).any()
    assert not grid_from_occlusions(0.2, np.full(OCCLUSION_CELLS**2, 0.9, np.float32)).any()


def test_the_covers_leave_no_pixel_out_and_reach_into_the_neighbours() -> None:
    image = np.zeros((33, 47, 3), np.uint8)
    views = occlusions(image)
    assert views.shape == (OCCLUSION_CELLS**2, 33, 47, 3)
    times_covered = (views[..., 0] == COVER).sum(0)
    assert times_covered.min() >= 1
    assert times_covered.max() <= 9
    assert not image.any(), "the image itself stays as it was"


def test_the_overlay_is_the_picture_with_the_evidence_in_red() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 2] = 200
    grid = np.zeros((4, 6), np.float32)
    grid[0, 0] = 1
    laid = np.asarray(overlay(image, grid)).astype(int)
    assert laid.shape == image.shape
    red, green, blue = laid[3, 3]
    assert red > 100
    assert red > green + 80
    red, green, blue = laid[30, 50]
    assert red == green == blue
