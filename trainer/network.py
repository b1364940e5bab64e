"""The network: normalisation, a backbone, and a head; and which part of it may train.

The blocks of a backbone form one `nn.Sequential`, so that a phase can freeze from the input up to any block; layers are
the leaf modules in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from linnet.errors import first_line
from linnet.preprocess import PreprocessSpec
from trainer.architectures import TIMM_PREFIX
from trainer.backbones import BACKBONES, Backbone, Parts
from trainer.errors import CannotDownload, NoPublishedWeights, UnknownBackbone, WeightsMismatch, WeightsNotFound
from trainer.recipe import Network

# Tell the weights of a run from those of a published network, which may have a part of one of these names.
PARTS = ("blocks.", "neck.", "head.")
HEAD_WEIGHT = re.compile(r"head\.\d+\.weight")


class Classifier(nn.Module):
    """uint8 or float images in 0..255 [N, H, W, 3] → logits [N, K]."""

    scale: torch.Tensor  # [3]
    offset: torch.Tensor  # [3]

    def __init__(self, parts: Parts, head: nn.Sequential, spec: PreprocessSpec) -> None:
        super().__init__()
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)
        self.blocks = nn.Sequential(*parts.blocks)
        self.neck = parts.neck
        self.head = head

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Turn [N, H, W, 3] in 0..255 into what the backbone was trained on, [N, 3, H, W] in channels_last memory."""
        return (images.float() * self.scale + self.offset).permute(0, 3, 1, 2)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embedding [N, D] of images [N, H, W, 3]."""
        embedding: torch.Tensor = self.neck(self.blocks(self.normalise(images)))
        return embedding

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [N, K] of images [N, H, W, 3]."""
        logits: torch.Tensor = self.head(self.embed(images))
        return logits


def chosen_device() -> str:
    """Return where networks run: on CUDA where there is any."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def build_classifier(
    network: Network, class_count: int, spec: PreprocessSpec, *, pretrained: bool = True
) -> Classifier:
    """Build the network of a recipe; `pretrained=False` leaves random weights for a state dict to replace.

    A weights file holds the published network, or an earlier run, of which the backbone is taken.

    Raises `UnknownBackbone`, `WeightsNotFound`, `WeightsMismatch`, `NoPublishedWeights` or `CannotDownload`.
    """
    backbone = backbone_named(network.backbone)
    source = network.weights if pretrained else "none"
    model = _downloaded(backbone, network.backbone) if source == "imagenet" else backbone.build()
    weights = None if source in ("none", "imagenet") else _read(Path(source), network.backbone)
    of_a_run = weights is not None and _are_of_a_run(weights)
    if weights is not None and not of_a_run:
        _load(model, weights, source, network.backbone)
    parts = backbone.take_apart(model)
    classifier = Classifier(parts, build_head(network, parts.embedding_size, class_count), spec)
    if weights is not None and of_a_run:
        own_head = {name: tensor for name, tensor in classifier.state_dict().items() if name.startswith("head.")}
        backbone_alone = {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}
        _load(classifier, {**backbone_alone, **own_head}, source, network.backbone)
    return classifier.to(memory_format=torch.channels_last)


def build_head(network: Network, embedding_size: int, class_count: int) -> nn.Sequential:
    """Build what turns embeddings [N, D] into logits [N, K]: dense layers, if the recipe has any, and the last one."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((embedding_size, *network.hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    last = nn.Linear((embedding_size, *network.hidden)[-1], class_count)
    return nn.Sequential(*layers, nn.Dropout(network.dropout), last)


def backbone_named(name: str) -> Backbone:
    """Return a backbone of the table or of timm. Raises `UnknownBackbone` or `TimmMissing`."""
    if name.startswith(TIMM_PREFIX):
        from trainer.timm_backbones import timm_backbone

        return timm_backbone(name)
    if name not in BACKBONES:
        raise UnknownBackbone(name, list(BACKBONES))
    return BACKBONES[name]


def _downloaded(backbone: Backbone, name: str) -> nn.Module:
    if backbone.imagenet is None:
        raise NoPublishedWeights(name)
    try:
        return backbone.imagenet()
    except (OSError, RuntimeError) as error:  # the latter where something else than the weights came
        raise CannotDownload(f"The ImageNet weights of {name}", Path(torch.hub.get_dir()), first_line(error)) from error


def _read(path: Path, backbone: str) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise WeightsNotFound(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsMismatch(path, backbone, first_line(error)) from error


def _are_of_a_run(names: Iterable[str]) -> bool:
    known = list(names)
    return all(name.startswith(PARTS) for name in known) and any(HEAD_WEIGHT.fullmatch(name) for name in known)


def _load(model: nn.Module, weights: dict[str, torch.Tensor], source: str, backbone: str) -> None:
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise WeightsMismatch(Path(source), backbone, first_line(error)) from error


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
    network.neck.requires_grad_(unfreeze != "head")
    if unfreeze == "all":
        network.blocks.requires_grad_(True)
    elif isinstance(unfreeze, int):
        for layer in _layers(network.blocks)[-unfreeze:]:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(True)
    elif unfreeze != "head":
        for block in list(network.blocks)[-int(unfreeze.split()[0]) :]:
            block.requires_grad_(True)


def train_mode(network: Classifier) -> None:
    """Put what trains into training mode; a frozen BatchNorm keeps its statistics (evaluation mode)."""
    network.train()
    for layer in (*_layers(network.blocks), *_layers(network.neck)):
        parameters = list(layer.parameters(recurse=False))
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            layer.training = False


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return the modules with nothing inside, and those with weights of their own: attention, timm's norms."""
    return [layer for layer in module.modules() if not list(layer.children()) or list(layer.parameters(recurse=False))]
