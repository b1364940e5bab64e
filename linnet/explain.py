"""Show where in an image the evidence for a class lies.

Where the graph has the output `cam`, the map comes with the answer (class activation mapping, Zhou et al. 2016).
Otherwise parts of the image are covered one by one and the fall of the probability is the map (occlusion, Zeiler and
Fergus 2014); the covered images are ordinary inputs, so whoever runs batches runs them. Must not import torch or a
web framework.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]  # [H, W, 3]
Grid = npt.NDArray[np.float32]  # [h, w] in 0..1: 1 where the evidence is strongest

OCCLUSION_CELLS = 7  # cells along each side; their square is the number of images to run
COVER = 127  # mid-grey
_STRENGTH = 0.65  # of the overlay where the evidence is strongest


def grid_from_cam(cam: npt.NDArray[np.float32], class_index: int) -> Grid:  # cam: [K, h, w]
    """Return what speaks for the class in each cell; what speaks against it counts as nothing."""
    return _to_unit(cam[class_index])


def occlusions(image: Pixels) -> npt.NDArray[np.uint8]:  # [C * C, H, W, 3]
    """Return the image with each cell of a square grid covered, row by row.

    The cover reaches half a cell into the neighbours, so that nothing shows itself at a border between two cells.
    """
    height, width = image.shape[:2]
    covered = np.repeat(image[None], OCCLUSION_CELLS**2, axis=0)
    for number, view in enumerate(covered):
        row, column = divmod(number, OCCLUSION_CELLS)
        view[_cell(row, height), _cell(column, width)] = COVER
    return covered


def grid_from_occlusions(
    probability: float,
    covered: npt.NDArray[np.float32],  # [C * C]
) -> Grid:
    """Return how much of the class's `probability` each cell carries, given the probabilities with cells covered."""
    fall = probability - np.asarray(covered, dtype=np.float32)
    return _to_unit(fall.reshape(OCCLUSION_CELLS, OCCLUSION_CELLS))


def overlay(image: Pixels, grid: Grid) -> Image.Image:
    """Lay the map over the image: grey where there is no evidence, the image's own colours under red where there is.

    The picture has the size of the image.
    """
    height, width = image.shape[:2]
    smooth = Image.fromarray(grid.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    weight = np.clip(np.asarray(smooth), 0.0, 1.0)[..., None]  # [H, W, 1]
    grey = np.repeat(np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32)[..., None], 3, axis=2)
    red = np.array([255.0, 40.0, 0.0], dtype=np.float32)
    ground = grey * (1 - weight) + image * weight
    mixed = ground * (1 - _STRENGTH * weight) + red * (_STRENGTH * weight)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _cell(number: int, side: int) -> slice:
    size = side / OCCLUSION_CELLS
    return slice(max(0, round((number - 0.5) * size)), round((number + 1.5) * size))


def _to_unit(values: npt.NDArray[np.float32]) -> Grid:
    positive = np.maximum(values, 0.0)
    largest = float(positive.max())
    return (positive / largest if largest > 0 else positive).astype(np.float32)
