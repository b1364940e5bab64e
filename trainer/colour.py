"""Changes of colour that are affine in RGB: each is a map per image, and their product is applied to the pixels once.

A map takes (r, g, b, 1), 0..255, to the new (r, g, b, 1), float32 [N, 4, 4]. `a @ b` changes by `b`, then by `a`.
"""

from __future__ import annotations

import math

import torch

GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, which Pillow and torchvision use


def brightnesses(factor: torch.Tensor) -> torch.Tensor:
    """Return maps that multiply every pixel by `factor` [N]."""
    maps = _identity(factor)
    maps[:, :3, :3] *= factor[:, None, None]
    return maps


def contrasts(factor: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Return maps that multiply the distance from the mean `grey` [N] of the image by `factor` [N]."""
    maps = brightnesses(factor)
    maps[:, :3, 3] = ((1 - factor) * grey)[:, None]
    return maps


def saturations(factor: torch.Tensor) -> torch.Tensor:
    """Return maps that multiply the distance from each pixel's own grey by `factor` [N]."""
    maps = brightnesses(factor)
    maps[:, :3, :3] += (1 - factor)[:, None, None] * torch.tensor(GREY, device=factor.device)
    return maps


def hues(turn: torch.Tensor) -> torch.Tensor:
    """Return maps that turn hues by `turn` [N] of the colour circle: a rotation about the grey axis of RGB.

    It keeps r + g + b, as Karras et al. 2020 (ADA, appendix B) do it, so it needs no detour through HSV.
    """
    angle = (2 * math.pi * turn)[:, None, None]
    around = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=turn.device) / math.sqrt(3)
    maps = _identity(turn)
    maps[:, :3, :3] = angle.cos() * maps[:, :3, :3] + (1 - angle.cos()) / 3 + angle.sin() * around
    return maps


def mean_grey(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return the mean grey [N] that images [N, H, W, 3] have once `maps` have changed them."""
    mean = images.float().mean((1, 2))
    changed = (maps[:, :3, :3] @ mean[..., None])[..., 0] + maps[:, :3, 3]
    return changed @ torch.tensor(GREY, device=images.device)


def recolour(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Apply maps to images [N, H, W, 3]; float32, cut to 0..255."""
    flat = images.float().flatten(1, 2)
    changed = torch.baddbmm(maps[:, None, :3, 3], flat, maps[:, :3, :3].mT)
    return changed.clamp(0, 255).view(images.shape)


def _identity(like: torch.Tensor) -> torch.Tensor:
    return torch.eye(4, device=like.device).repeat(len(like), 1, 1)
