"""Random changes of training images as batched tensor work, on the device, drawn for each image of the batch.

Flips and shifts by whole pixels are an index into uint8; everything that resamples is one affine map, and everything
that is affine in colour another, so that each is paid for once.
"""

from __future__ import annotations

import torch

from trainer import colour, geometry, trivial
from trainer.recipe import Augment


def augment(images: torch.Tensor, settings: Augment, generator: torch.Generator) -> torch.Tensor:
    """Return changed images: uint8 [N, H, W, 3] in, uint8 or float32 of the same shape and range out.

    `generator` lives on the CPU, so that one seed draws the same changes on every device.
    """
    if settings.flip or settings.shift > 0:
        images = _flip_and_shift(images, settings, generator)
    drawn = trivial.draw(len(images), generator) if settings.trivial_augment else None
    images = _warp(images, settings, drawn, generator)
    images = _recolour(images, settings, drawn, generator)
    if drawn:
        images = trivial.retouch(images, drawn)
    if settings.erase > 0:
        images = _erase(images, settings.erase, generator)
    return images


def _flip_and_shift(images: torch.Tensor, settings: Augment, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images and move each by whole pixels; one gather of uint8."""
    count, height, width, _ = images.shape
    rows = torch.arange(height).expand(count, -1)
    columns = torch.arange(width).expand(count, -1)
    if settings.flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if settings.shift > 0:
        rows = rows + _offsets(count, round(settings.shift * height), generator)
        columns = columns + _offsets(count, round(settings.shift * width), generator)
    index = torch.arange(count, device=images.device)[:, None, None]
    rows, columns = rows.to(images.device), columns.to(images.device)
    moved = images[index, _mirror(rows, height)[:, :, None], _mirror(columns, width)[:, None, :]]
    if settings.edges == "black":
        inside = _is_inside(rows, height)[:, :, None] & _is_inside(columns, width)[:, None, :]
        moved = torch.where(inside[..., None], moved, torch.zeros_like(moved))
    return moved


def _offsets(count: int, largest: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(-largest, largest + 1, (count, 1), generator=generator)


def _mirror(index: torch.Tensor, size: int) -> torch.Tensor:
    """Fold indices beyond 0..size-1 back, as reflection without repeating the edge does."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def _is_inside(index: torch.Tensor, size: int) -> torch.Tensor:
    return (index >= 0) & (index < size)


def _warp(
    images: torch.Tensor, settings: Augment, drawn: trivial.Draw | None, generator: torch.Generator
) -> torch.Tensor:
    """Resample once for all that asks for it: crop, scale, rotation and the geometry of TrivialAugment."""
    count, height, width, _ = images.shape
    maps: list[torch.Tensor] = []
    if settings.zoom < 1:
        maps.append(geometry.crops(settings.zoom, count, generator))
    if settings.scale > 0:
        maps.append(geometry.scalings(1 + settings.scale * _around_zero(count, generator)))
    if settings.rotate > 0:
        maps.append(geometry.rotations(settings.rotate * _around_zero(count, generator), height / width))
    if drawn:
        maps.append(drawn.maps(height / width))
    if not maps:
        return images
    # A crop stays inside, where "border" spares it the arithmetic of reflection.
    padding = geometry.PADDING[settings.edges] if drawn or settings.scale > 0 or settings.rotate > 0 else "border"
    return geometry.warp(images, _product(maps), padding)


def _recolour(
    images: torch.Tensor, settings: Augment, drawn: trivial.Draw | None, generator: torch.Generator
) -> torch.Tensor:
    """Change colours once for all that asks for it, in the order brightness, contrast, saturation, hue."""
    jittered = settings.brightness or settings.contrast or settings.saturation or settings.hue
    if not (jittered or drawn):
        return images

    def factor(name: str, largest: float) -> torch.Tensor:
        factors = 1 + largest * _around_zero(len(images), generator) if largest else torch.ones(len(images))
        return (factors * drawn.factor(name) if drawn else factors).to(images.device)

    maps = colour.brightnesses(factor("brightness", settings.brightness))
    contrast = factor("contrast", settings.contrast)
    maps = colour.contrasts(contrast, colour.mean_grey(images, maps)) @ maps
    maps = colour.saturations(factor("saturation", settings.saturation)) @ maps
    if settings.hue:
        maps = colour.hues((settings.hue * _around_zero(len(images), generator)).to(images.device)) @ maps
    return colour.recolour(images, maps)


def _around_zero(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from -1..1, float32 [count]."""
    return torch.rand(count, generator=generator) * 2 - 1


def _product(maps: list[torch.Tensor]) -> torch.Tensor:
    product = maps[0]
    for other in maps[1:]:
        product = product @ other
    return product


def _erase(images: torch.Tensor, side: float, generator: torch.Generator) -> torch.Tensor:
    """Blank a square of `side` times the image's side to mid-grey, centred anywhere (DeVries & Taylor 2017, Cutout)."""
    count, height, width, _ = images.shape
    centres = torch.rand(count, 2, generator=generator).to(images.device)
    rows = torch.arange(height, device=images.device)[None, :] / height
    columns = torch.arange(width, device=images.device)[None, :] / width
    inside = ((rows - centres[:, :1]).abs() < side / 2)[:, :, None] & ((columns - centres[:, 1:]).abs() < side / 2)[
        :, None
    ]
    return torch.where(inside[..., None], torch.tensor(128, dtype=images.dtype, device=images.device), images)
