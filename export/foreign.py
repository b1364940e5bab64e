"""Images that belong to no class, made from images that do: what a rule to abstain is chosen on.

They need no other data, and none of them is what results are reported on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]  # [N, H, W, 3]

TILES = 4  # along each side
SPOTS = 6  # coloured spots along each side


def foreign_images(images: Images, labels: npt.NDArray[np.int64], seed: int) -> dict[str, Images]:
    """Return four kinds of strangers by name, each [N, H, W, 3], from images with their labels [N].

    'tiles': cut and laid anew; 'blends': halfway between two classes; 'pixels': every pixel elsewhere; 'spots': blurred
    patches of the images' colours. The same seed gives the same images.
    """
    chance = np.random.default_rng(seed)
    return {
        "tiles": np.stack([_lay_anew(image, chance) for image in images]),
        "blends": _blend(images, labels, chance),
        "pixels": np.stack([chance.permutation(image.reshape(-1, 3)).reshape(image.shape) for image in images]),
        "spots": np.stack([_spots(image, chance) for image in images]),
    }


def _lay_anew(image: npt.NDArray[np.uint8], chance: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Shuffle equal tiles; a rest at the right and lower edge that fills no tile stays where it is."""
    height, width = (side // TILES for side in image.shape[:2])
    laid = image.copy()
    for target, source in enumerate(chance.permutation(TILES**2)):
        (to_row, to_column), (row, column) = divmod(target, TILES), divmod(int(source), TILES)
        laid[to_row * height : (to_row + 1) * height, to_column * width : (to_column + 1) * width] = image[
            row * height : (row + 1) * height, column * width : (column + 1) * width
        ]
    return laid


def _blend(images: Images, labels: npt.NDArray[np.int64], chance: np.random.Generator) -> Images:
    others = [chance.choice(np.flatnonzero(labels != label)) for label in labels]
    mixed: Images = ((images.astype(np.uint16) + images[others]) // 2).astype(np.uint8)
    return mixed


def _spots(image: npt.NDArray[np.uint8], chance: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Stretch a few pixels of the image over its whole size."""
    from PIL import Image

    pixels = image.reshape(-1, 3)
    few = pixels[chance.integers(0, len(pixels), SPOTS**2)].reshape(SPOTS, SPOTS, 3)
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC))
