"""Mixup and cutmix: training images blended with others of their batch, and the loss that goes with them.

Each image draws its own method, partner and share, so that a batch holds every degree of mixing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from trainer.recipe import Augment


@dataclass(frozen=True)
class Targets:
    """What images are to be answered with: their class, or two classes and the share of the first."""

    labels: torch.Tensor  # int64 [N]
    partners: torch.Tensor | None = None  # int64 [N]
    share: torch.Tensor | None = None  # float32 [N], 1 where the image is not mixed
    weights: torch.Tensor | None = None  # float32 [K], of the classes; 1 on average

    def loss(self, logits: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Return the mean cross-entropy of logits [N, K], each image's two classes weighted by their shares."""
        if self.partners is None and self.weights is None:
            return F.cross_entropy(logits, self.labels, label_smoothing=label_smoothing)
        first = self._losses(logits, self.labels, label_smoothing)
        if self.partners is None or self.share is None:
            return first.mean()
        second = self._losses(logits, self.partners, label_smoothing)
        return (self.share * first + (1 - self.share) * second).mean()

    def part(self, rows: slice) -> Targets:
        """Return the targets of some of the images."""
        partners = None if self.partners is None else self.partners[rows]
        share = None if self.share is None else self.share[rows]
        return Targets(self.labels[rows], partners, share, self.weights)

    def _losses(self, logits: torch.Tensor, classes: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        """Return the loss of each image, float32 [N]: times the weight of its class, not over the sum of weights."""
        losses = F.cross_entropy(logits, classes, reduction="none", label_smoothing=label_smoothing)
        return losses if self.weights is None else losses * self.weights[classes]


def mixes(settings: Augment) -> bool:
    """Tell whether these settings blend images at all."""
    return settings.mix_share > 0 and (settings.mixup > 0 or settings.cutmix > 0)


def mix(
    images: torch.Tensor, labels: torch.Tensor, settings: Augment, generator: torch.Generator
) -> tuple[torch.Tensor, Targets]:
    """Blend images [N, H, W, 3] of 0..255 with others of the same batch; float32 out, with their targets.

    Mixup (Zhang et al. 2018) adds the partner pixel by pixel; cutmix (Yun et al. 2019) pastes a rectangle of it, and
    its share is the area that was really pasted. `generator` lives on the CPU.
    """
    count, height, width, _ = images.shape
    device = images.device
    partner = torch.randperm(count, generator=generator)
    mixed = torch.rand(count, generator=generator) < settings.mix_share
    pastes = torch.rand(count, generator=generator) < _cutmix_share(settings)
    blend = torch.where(mixed & ~pastes, _beta(settings.mixup, count, generator), 1.0)
    kept = torch.where(mixed & pastes, _beta(settings.cutmix, count, generator), 1.0)
    inside = _rectangles(1 - kept, height, width, generator)  # bool [N, H, W], True where the partner is pasted
    share = blend * (1 - inside.float().mean((1, 2)))
    weight = torch.where(inside, 0.0, blend[:, None, None])[..., None].to(device)
    blended = torch.lerp(images[partner.to(device)].float(), images.float(), weight)
    return blended, Targets(labels, labels[partner.to(labels.device)], share.to(labels.device))


def _cutmix_share(settings: Augment) -> float:
    if settings.cutmix == 0:
        return 0.0
    return 1.0 if settings.mixup == 0 else 0.5


def _beta(alpha: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from Beta(alpha, alpha), float32 [count]; 1 where alpha is 0."""
    if alpha == 0:
        return torch.ones(count)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()


def _rectangles(area: torch.Tensor, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Draw a rectangle of the image's proportions and of `area` [N] in 0..1, centred anywhere and cut at the edges."""
    side = area.sqrt()[:, None]
    centre = torch.rand(len(area), 2, generator=generator)
    rows = (torch.arange(height)[None, :] + 0.5) / height
    columns = (torch.arange(width)[None, :] + 0.5) / width
    in_rows = (rows - centre[:, :1]).abs() < side / 2
    in_columns = (columns - centre[:, 1:]).abs() < side / 2
    return in_rows[:, :, None] & in_columns[:, None, :]
