"""Changes of shape that resample: each is an affine map per image, and their product is read off the pixels once.

A map takes a place in the new image to the place in the old one that it is read from, float32 [N, 3, 3], in the units
of `grid_sample`: -1..1 from edge to edge, x first. `a @ b` changes an image by `a`, then by `b`.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

PADDING = {"mirror": "reflection", "black": "zeros"}


def crops(smallest_area: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw squares of `smallest_area`..1 of the area, anywhere inside, each scaled back to the whole."""
    side = (smallest_area + (1 - smallest_area) * torch.rand(count, generator=generator)).sqrt()
    centre = (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    maps = _identity(count)
    maps[:, 0, 0] = maps[:, 1, 1] = side
    maps[:, :2, 2] = centre
    return maps


def scalings(factor: torch.Tensor) -> torch.Tensor:
    """Return maps that magnify by `factor` [N] about the centre."""
    maps = _identity(len(factor))
    maps[:, 0, 0] = maps[:, 1, 1] = 1 / factor
    return maps


def rotations(degrees: torch.Tensor, aspect: float) -> torch.Tensor:
    """Return maps that turn by `degrees` [N] clockwise about the centre; `aspect` is height over width."""
    radians = degrees.deg2rad()
    maps = _identity(len(degrees))
    maps[:, 0, 0] = maps[:, 1, 1] = radians.cos()
    maps[:, 0, 1] = radians.sin() * aspect
    maps[:, 1, 0] = -radians.sin() / aspect
    return maps


def shears(along_x: torch.Tensor, along_y: torch.Tensor) -> torch.Tensor:
    """Return maps that move each row by `along_x` [N] of its distance from the centre, each column by `along_y`."""
    maps = _identity(len(along_x))
    maps[:, 0, 1] = along_x
    maps[:, 1, 0] = along_y
    return maps


def shifts(right: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Return maps that move by `right` and `down` [N], shares of the side."""
    maps = _identity(len(right))
    maps[:, 0, 2] = -2 * right
    maps[:, 1, 2] = -2 * down
    return maps


def warp(images: torch.Tensor, maps: torch.Tensor, padding: str) -> torch.Tensor:
    """Read images [N, H, W, 3] at the places of their maps, bilinear; float32 out. Those that do not move are copied.

    `padding` is that of `grid_sample`: what lies beyond the edges.
    """
    moved = (maps != torch.eye(3)).flatten(1).any(1)
    warped = images.to(torch.float32, copy=True)
    if not moved.any():
        return warped
    if moved.all():
        return _read(warped, maps, padding)
    chosen = moved.nonzero()[:, 0].to(images.device)
    warped[chosen] = _read(warped[chosen], maps[moved], padding)
    return warped


def _read(images: torch.Tensor, maps: torch.Tensor, padding: str) -> torch.Tensor:
    pixels = images.permute(0, 3, 1, 2)
    grid = F.affine_grid(maps[:, :2].to(images.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode=padding, align_corners=False).permute(0, 2, 3, 1)


def _identity(count: int) -> torch.Tensor:
    return torch.eye(3).repeat(count, 1, 1)
