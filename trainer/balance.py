"""What is done about classes of unequal size: nothing, a weight on each image's loss, or an even draw of images."""

from __future__ import annotations

import torch


def class_weights(labels: torch.Tensor) -> torch.Tensor:
    """Return a weight for each class, float32 [K], in inverse proportion to its share; their mean over images is 1."""
    counts = labels.bincount()
    return (len(labels) / (len(counts) * counts.clamp(min=1))).float()


def even_order(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw an epoch of N indices with equally many of each class: a small class comes several times, a large in part.

    A class is gone through whole, in a new order each time, before any of its images comes again.
    """
    classes = labels.unique().tolist()  # type: ignore[no-untyped-call]
    each = -(-len(labels) // len(classes))
    drawn = []
    for label in classes:
        members = (labels == label).nonzero()[:, 0]
        rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(-(-each // len(members)))]
        drawn.append(torch.cat(rounds)[:each])
    together = torch.cat(drawn)
    return together[torch.randperm(len(together), generator=generator)][: len(labels)]
