"""The network: normalisation, a backbone as a sequence of blocks, and a linear head.

A backbone is a row of `BACKBONES`. Its blocks form one `nn.Sequential`, so that a phase can freeze from the input up to
any block, and layers are its leaf modules in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from linnet.preprocess import PreprocessSpec
from trainer.errors import CannotDownload, WeightsMismatch, WeightsNotFound
from trainer.recipe import BackboneName, Network


@dataclass(frozen=True)
class Backbone:
    """How to build one architecture and take its head off."""

    build: Callable[[], nn.Module]  # the whole published network, random weights
    imagenet: Callable[[], nn.Module]  # the same with the published weights, downloaded
    blocks: Callable[[nn.Module], Sequence[nn.Module]]
    embedding_size: int  # D


BACKBONES: dict[BackboneName, Backbone] = {
    "mobilenet_v2": Backbone(
        build=mobilenet_v2,
        imagenet=lambda: mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V2),
        blocks=lambda model: list(model.features.children()),  # type: ignore[union-attr]
        embedding_size=1280,
    ),
}


class Classifier(nn.Module):
    """uint8 or float images in 0..255 [N, H, W, 3] → logits [N, K]."""

    scale: torch.Tensor  # [3]
    offset: torch.Tensor  # [3]

    def __init__(self, blocks: Sequence[nn.Module], head: nn.Sequential, spec: PreprocessSpec) -> None:
        super().__init__()
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)
        self.blocks = nn.Sequential(*blocks)
        self.head = head

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Turn [N, H, W, 3] in 0..255 into what the backbone was trained on, [N, 3, H, W] in channels_last memory."""
        return (images.float() * self.scale + self.offset).permute(0, 3, 1, 2)

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """Average the last block's maps [N, D, h, w] into the embedding [N, D]."""
        return hidden.mean((2, 3))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embedding [N, D] of images [N, H, W, 3]."""
        return self.pool(self.blocks(self.normalise(images)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [N, K] of images [N, H, W, 3]."""
        logits: torch.Tensor = self.head(self.embed(images))
        return logits


def build_classifier(
    network: Network, class_count: int, spec: PreprocessSpec, *, pretrained: bool = True
) -> Classifier:
    """Build the network of a recipe; `pretrained=False` leaves random weights for a state dict to replace.

    Raises `WeightsNotFound`, `WeightsMismatch` or `CannotDownload`.
    """
    backbone = BACKBONES[network.backbone]
    model = _pretrained(backbone, network) if pretrained else backbone.build()
    head = nn.Sequential(nn.Dropout(network.dropout), nn.Linear(backbone.embedding_size, class_count))
    return Classifier(backbone.blocks(model), head, spec).to(memory_format=torch.channels_last)


def _pretrained(backbone: Backbone, network: Network) -> nn.Module:
    if network.weights == "none":
        return backbone.build()
    if network.weights == "imagenet":
        try:
            return backbone.imagenet()
        except OSError as error:
            raise CannotDownload(
                f"The ImageNet weights of {network.backbone}", Path(torch.hub.get_dir()), str(error)
            ) from error
    path = Path(network.weights)
    if not path.is_file():
        raise WeightsNotFound(path)
    model = backbone.build()
    try:
        model.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise WeightsMismatch(path, network.backbone, str(error).splitlines()[0]) from error
    return model


def frozen_block_count(network: Classifier) -> int:
    """Return how many blocks, counted from the input, have nothing left to train."""
    count = 0
    for block in network.blocks:
        if any(parameter.requires_grad for parameter in block.parameters()):
            break
        count += 1
    return count


def set_trainable(network: Classifier, unfreeze: str | int) -> None:
    """Let the head and the named part of the backbone train, and nothing else.

    `unfreeze` is 'head', 'all', 'N blocks', or a number of layers, both counted from the head.
    """
    network.requires_grad_(False)
    network.head.requires_grad_(True)
    if unfreeze == "all":
        network.blocks.requires_grad_(True)
    elif isinstance(unfreeze, int):
        for layer in _layers(network.blocks)[-unfreeze:]:
            layer.requires_grad_(True)
    elif unfreeze != "head":
        for block in list(network.blocks)[-int(unfreeze.split()[0]) :]:
            block.requires_grad_(True)


def train_mode(network: Classifier) -> None:
    """Put what trains into training mode; a frozen BatchNorm keeps its statistics (evaluation mode)."""
    network.train()
    for layer in _layers(network.blocks):
        parameters = list(layer.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            layer.eval()


def _layers(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if not list(layer.children())]
