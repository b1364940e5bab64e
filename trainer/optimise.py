"""Optimizer, learning-rate schedule and weight averaging of a phase."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from trainer.network import Classifier
from trainer.recipe import Optim


def build_optimizer(network: Classifier, settings: Optim) -> torch.optim.Optimizer:
    """Build the optimizer over what trains; norms and biases are not decayed; each group keeps its `peak_lr`."""
    groups = []
    for part, scale in _parts(network, settings):
        trainable = [parameter for parameter in part if parameter.requires_grad]
        for decays in (True, False):
            parameters = [parameter for parameter in trainable if (parameter.ndim > 1) == decays]
            if parameters:
                peak_lr = settings.lr * scale
                decay = settings.weight_decay if decays else 0.0
                groups.append({"params": parameters, "lr": peak_lr, "peak_lr": peak_lr, "weight_decay": decay})
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    if settings.name == "adam":
        return torch.optim.Adam(groups, fused=True)
    return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True)


def _parts(network: Classifier, settings: Optim) -> list[tuple[list[nn.Parameter], float]]:
    """Return parts of the network with their learning rates over that of the head.

    Layer decay is that of BEiT (Bao et al. 2021) and timm: a factor for each block from the head on; what stands
    between the last block and the head counts with the head.
    """
    scale, decay = settings.backbone_lr_scale, settings.layer_decay
    head = (list(network.head.parameters()), 1.0)
    if decay == 1:
        return [([*network.blocks.parameters(), *network.neck.parameters()], scale), head]
    depth = len(network.blocks)
    blocks = [(list(block.parameters()), scale * decay ** (depth - i)) for i, block in enumerate(network.blocks)]
    return [*blocks, (list(network.neck.parameters()), scale), head]


def set_rate(optimizer: torch.optim.Optimizer, settings: Optim, step: int, steps: int) -> float:
    """Set the learning rates for `step` (from 0) of `steps` in the phase; return the highest."""
    factor = rate_factor(settings, (step + 0.5) / steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    return max(float(group["lr"]) for group in optimizer.param_groups)


def rate_factor(settings: Optim, progress: float) -> float:
    """Return the learning rate at `progress` in 0..1 of a phase as a share of its peak.

    Linear warm-up, then a half cosine to zero ('cosine': Loshchilov & Hutter 2016), a straight line to zero
    ('one-cycle': Smith 2018, triangular), or no change.
    """
    if progress < settings.warmup:
        return progress / settings.warmup
    rest = (progress - settings.warmup) / (1 - settings.warmup)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * rest))
    return 1 - rest if settings.schedule == "one-cycle" else 1.0


class Average:
    """Exponential moving average of all weights and statistics (Polyak & Juditsky 1992), with a fast start."""

    def __init__(self, network: Classifier, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the weights of `network` by one step."""
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 10))
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def state(self) -> dict[str, object]:
        """Return everything that `restore` needs."""
        return {"network": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from what `state` returned."""
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]
        self._steps = int(state["steps"])  # type: ignore[call-overload]
