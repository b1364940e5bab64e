"""TrivialAugment (Müller & Hutter 2021): one change per image, drawn from fourteen, at a strength drawn from 31.

Five of them are geometry and three are affine in colour, so they join the maps of `trainer.geometry` and
`trainer.colour`; this module draws, and does those that are neither. The strengths are the paper's wide ones, but for
shifts, which are a share of the side here (its 10 of 32 pixels), since images come at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F  # noqa: N812

from trainer import geometry

OPERATIONS = (
    "identity", "shear_x", "shear_y", "shift_x", "shift_y", "rotate", "brightness", "contrast", "saturation",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
LEVELS = 31

LARGEST_SHEAR = 0.99
LARGEST_SHIFT = 10 / 32  # of the side
LARGEST_ROTATION = 135.0  # degrees
LARGEST_ENHANCEMENT = 0.99  # brightness, contrast, saturation and sharpness go from 0.01 to 1.99
MOST_BITS_LOST = 6  # of 8


@dataclass(frozen=True)
class Draw:
    """What happens to each image, on the CPU."""

    operation: torch.Tensor  # int64 [N], indices of OPERATIONS
    strength: torch.Tensor  # float32 [N], 0..1
    sign: torch.Tensor  # float32 [N], -1 or 1

    def signed(self, name: str, largest: float) -> torch.Tensor:
        """Return ± strength * `largest` [N] for the images that drew the operation, 0 for the others."""
        return torch.where(self.operation == OPERATIONS.index(name), self.sign * self.strength * largest, 0.0)

    def factor(self, name: str) -> torch.Tensor:
        """Return the factor [N] of an enhancement, 1 for the images that did not draw it."""
        return 1 + self.signed(name, LARGEST_ENHANCEMENT)

    def maps(self, aspect: float) -> torch.Tensor:
        """Return the geometry [N, 3, 3] of the draw; `aspect` is height over width."""
        sheared = geometry.shears(self.signed("shear_x", LARGEST_SHEAR), self.signed("shear_y", LARGEST_SHEAR))
        shifted = geometry.shifts(self.signed("shift_x", LARGEST_SHIFT), self.signed("shift_y", LARGEST_SHIFT))
        return sheared @ shifted @ geometry.rotations(self.signed("rotate", LARGEST_ROTATION), aspect)


def draw(count: int, generator: torch.Generator) -> Draw:
    """Draw for `count` images."""
    operation = torch.randint(len(OPERATIONS), (count,), generator=generator)
    strength = torch.randint(LEVELS, (count,), generator=generator) / (LEVELS - 1)
    sign = torch.randint(2, (count,), generator=generator) * 2.0 - 1
    return Draw(operation, strength, sign)


def retouch(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """Do what is neither geometry nor affine in colour to images [N, H, W, 3]; float32, 0..255."""
    retouched = images.to(torch.float32, copy=True)

    def chosen(name: str) -> torch.Tensor:
        return (drawn.operation == OPERATIONS.index(name)).nonzero()[:, 0]

    def strength(rows: torch.Tensor) -> torch.Tensor:  # [n, 1, 1, 1], beside pixels
        return drawn.strength[rows].to(images.device)[:, None, None, None]

    if len(rows := chosen("sharpness")):
        factor = drawn.factor("sharpness")[rows].to(images.device)
        retouched[rows] = sharpen(retouched[rows], factor)
    if len(rows := chosen("posterize")):
        retouched[rows] = posterize(retouched[rows], (strength(rows) * MOST_BITS_LOST).round())
    if len(rows := chosen("solarize")):
        retouched[rows] = solarize(retouched[rows], 255 * (1 - strength(rows)))
    if len(rows := chosen("autocontrast")):
        retouched[rows] = autocontrast(retouched[rows])
    if len(rows := chosen("equalize")):
        retouched[rows] = equalize(retouched[rows])
    return retouched


def sharpen(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Multiply what a 3 × 3 smoothing takes away by `factor` [N]; the outermost pixels stay, as in Pillow."""
    kernel = torch.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]], device=images.device) / 13
    pixels = images.permute(0, 3, 1, 2)
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(pixels, kernel.expand(3, 1, 3, 3), groups=3)
    sharp = torch.lerp(smooth, pixels, factor[:, None, None, None])
    return sharp.clamp(0, 255).permute(0, 2, 3, 1)


def posterize(images: torch.Tensor, bits_lost: torch.Tensor) -> torch.Tensor:
    """Keep the leading bits of every value; `bits_lost` broadcasts against images."""
    step = 2**bits_lost
    return (images / step).floor() * step


def solarize(images: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Invert the values from `threshold` on."""
    return torch.where(images >= threshold, 255 - images, images)


def autocontrast(images: torch.Tensor) -> torch.Tensor:
    """Stretch each channel of each image to 0..255; a channel of one value stays."""
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    stretched = (images - low) * (255 / (high - low).clamp(min=1e-6))
    return torch.where(high > low, stretched.clamp(0, 255), images)


def equalize(images: torch.Tensor) -> torch.Tensor:
    """Flatten the histogram of each channel of each image, by the integers that Pillow computes."""
    count, height, width, channels = images.shape
    values = images.round().long().permute(0, 3, 1, 2).reshape(count * channels, -1)  # int64 [N * 3, H * W]
    histogram = torch.zeros(count * channels, 256, dtype=torch.int64, device=images.device)
    histogram.scatter_add_(1, values, torch.ones_like(values))
    at_highest = histogram.gather(1, values.amax(1, keepdim=True))
    step = (height * width - at_highest) // 255
    below = histogram.cumsum(1) - histogram
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(1, values).float().view(count, channels, height, width).permute(0, 2, 3, 1)
