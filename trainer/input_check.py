"""Whether a network takes images of the sizes that a recipe names: found out before anything is decoded."""

from __future__ import annotations

import torch

from linnet.errors import UsageError, first_line
from trainer.network import Classifier
from trainer.recipe import Recipe


class InputRefused(UsageError):
    """The backbone cannot take images of that size."""

    def __init__(self, backbone: str, size_px: int, reason: str) -> None:
        super().__init__(
            f"The backbone {backbone} cannot take images of {size_px} px ({reason}): set preprocess.size_px, and the "
            "size_px of phases, to another size."
        )


@torch.no_grad()
def check_sizes(network: Classifier, recipe: Recipe) -> None:
    """Answer one black image of each size, on the CPU; raises `InputRefused`."""
    network.eval()
    for size_px in sorted({recipe.preprocess.size_px, *(phase.size_px for phase in recipe.phase if phase.size_px)}):
        try:
            network(torch.zeros(1, size_px, size_px, 3, dtype=torch.uint8))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InputRefused(recipe.network.backbone, size_px, first_line(error)) from error
