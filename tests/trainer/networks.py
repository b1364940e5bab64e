"""A network small enough to train in milliseconds, and splits that it can learn."""

from __future__ import annotations

from io import StringIO

import torch
from rich.console import Console
from torch import nn

from linnet.preprocess import PreprocessSpec
from trainer.backbones import AveragePool, Parts
from trainer.inputs import Split
from trainer.network import Classifier
from trainer.progress import Reporter
from trainer.recipe import Optim, Phase

SPEC = PreprocessSpec(size_px=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def tiny_network(seed: int = 0, *, dropout: float = 0.0) -> Classifier:
    """Return three blocks of convolution, norm and ReLU, and a head for three classes."""
    torch.manual_seed(seed)
    blocks = [
        nn.Sequential(nn.Conv2d(width, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        for width in (3, 8, 8)
    ]
    parts = Parts(blocks, AveragePool(), 8)
    return Classifier(parts, nn.Sequential(nn.Dropout(dropout), nn.Linear(8, 3)), SPEC)


def tiny_split(count: int, seed: int = 0) -> Split:
    """Return noisy images, each with one channel brighter than the others: its label."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 8, 8, 3), generator=chance)
    images[torch.arange(count), :, :, labels] += 100
    return Split(images.to(torch.uint8), labels)


def tiny_phase(unfreeze: str | int = "all", epochs: int = 2, batch_size: int = 6, **optim: object) -> Phase:
    """Return a phase; `optim` replaces keys of its optimizer."""
    settings = Optim.model_validate({"lr": 1e-2, "warmup": 0.0, **optim})
    return Phase(name="tiny", unfreeze=unfreeze, epochs=epochs, batch_size=batch_size, optim=settings)


def quiet() -> Reporter:
    """Return a reporter whom nobody hears."""
    return Reporter(Console(file=StringIO()))


def copy_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights and statistics as they are now."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, torch.Tensor], network: nn.Module) -> set[str]:
    """Name the weights and statistics that are not bit for bit what they were."""
    return {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}
