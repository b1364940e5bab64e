"""Random changes of training images as batched tensor work, on the device, drawn for each image of the batch."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

from trainer.recipe import Augment


def augment(images: torch.Tensor, settings: Augment, generator: torch.Generator) -> torch.Tensor:
    """Return changed images: uint8 [N, H, W, 3] in, uint8 or float32 of the same shape and range out.

    `generator` lives on the CPU, so that one seed draws the same changes on every device.
    """
    if settings.flip or settings.shift > 0:
        images = _flip_and_shift(images, settings, generator)
    if settings.zoom < 1:
        images = _zoom(images, settings.zoom, generator)
    if settings.erase > 0:
        images = _erase(images, settings.erase, generator)
    return images


def _flip_and_shift(images: torch.Tensor, settings: Augment, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images and move each by whole pixels; one gather of uint8, edges mirrored."""
    count, height, width, _ = images.shape
    rows = torch.arange(height).expand(count, -1)
    columns = torch.arange(width).expand(count, -1)
    if settings.flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if settings.shift > 0:
        rows = _mirror(rows + _offsets(count, round(settings.shift * height), generator), height)
        columns = _mirror(columns + _offsets(count, round(settings.shift * width), generator), width)
    index = torch.arange(count, device=images.device)[:, None, None]
    return images[index, rows.to(images.device)[:, :, None], columns.to(images.device)[:, None, :]]


def _offsets(count: int, largest: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(-largest, largest + 1, (count, 1), generator=generator)


def _mirror(index: torch.Tensor, size: int) -> torch.Tensor:
    """Fold indices beyond 0..size-1 back, as reflection without repeating the edge does."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def _zoom(images: torch.Tensor, smallest_area: float, generator: torch.Generator) -> torch.Tensor:
    """Cut a random square of `smallest_area`..1 of the area out of each image and scale it back, bilinear."""
    count, height, width, _ = images.shape
    side = (smallest_area + (1 - smallest_area) * torch.rand(count, generator=generator)).sqrt()
    centre = (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0] = transform[:, 1, 1] = side
    transform[:, :, 2] = centre
    grid = F.affine_grid(transform.to(images.device), [count, 3, height, width], align_corners=False)
    pixels = images.permute(0, 3, 1, 2).float()
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)


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
