"""How each backbone is built and how its head is taken off; torchvision's attribute names stay inside this module.

A backbone becomes a sequence of blocks, so that a phase can freeze from the input up to any of them, and a neck that
turns the last block's output into the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

from trainer import scratch


@dataclass(frozen=True)
class Parts:
    """A network without its head."""

    blocks: Sequence[nn.Module]  # images [N, 3, H, W] → what the neck takes
    neck: nn.Module  # → embedding [N, D]
    embedding_size: int  # D


@dataclass(frozen=True)
class Backbone:
    """One architecture."""

    build: Callable[[], nn.Module]  # the whole network, random weights
    take_apart: Callable[[Any], Parts]
    imagenet: Callable[[], nn.Module] | None = None  # the whole network with the published weights, downloaded


class AveragePool(nn.Module):
    """Averages maps [N, D, h, w] to [N, D].

    The gradient of a mean lies in memory as its input's dimensions come, so it is taken with the channels last: any
    other gradient sends the BatchNorm before it down a path that takes three to five times as long on CPUs.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the mean over both sides."""
        return maps.permute(0, 2, 3, 1).mean((1, 2))


class Patches(nn.Module):
    """The first stage of a vision transformer: images [N, 3, H, W] → tokens [N, 1 + h * w, D], the class token first.

    The learnt positions are stretched, bicubically, to whatever number of patches the image gives (Dosovitskiy et al.
    2020, section 3.2).
    """

    def __init__(self, model: models.VisionTransformer) -> None:
        super().__init__()
        self.projection = model.conv_proj
        self.class_token = model.class_token
        self.positions = model.encoder.pos_embedding
        self.side = model.image_size // model.patch_size
        self.dropout = model.encoder.dropout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens with their positions added."""
        patches = self.projection(images)
        positions = self.positions
        if patches.shape[2:] != (self.side, self.side):
            grid = positions[:, 1:].unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=patches.shape[2:], mode="bicubic", align_corners=False)
            positions = torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], 1)
        encoded: torch.Tensor = self.dropout(tokens + positions)
        return encoded


class ClassToken(nn.Module):
    """Takes the class token [N, D] out of tokens [N, S, D]."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the first token."""
        return tokens[:, 0]


def _features(embedding_size: int) -> Callable[[Any], Parts]:
    return lambda model: Parts(list(model.features), AveragePool(), embedding_size)


def _mobilenet_v3(model: Any) -> Parts:
    hidden, activation = model.classifier[0], model.classifier[1]
    return Parts(list(model.features), nn.Sequential(AveragePool(), hidden, activation), hidden.out_features)


def _resnet(model: Any) -> Parts:
    stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
    stages = (model.layer1, model.layer2, model.layer3, model.layer4)
    return Parts([stem, *(block for stage in stages for block in stage)], AveragePool(), model.fc.in_features)


def _inception(model: Any) -> Parts:
    """Leave out the auxiliary head, and the transform from ImageNet's normalisation, which `mean` and `std` replace."""
    left_out = {"AuxLogits", "avgpool", "dropout", "fc"}
    blocks = [block for name, block in model.named_children() if name not in left_out]
    return Parts(blocks, AveragePool(), model.fc.in_features)


def _convnext(model: Any) -> Parts:
    norm = model.classifier[0]
    return Parts(list(model.features), nn.Sequential(model.avgpool, norm, nn.Flatten(1)), norm.normalized_shape[0])


def _vision_transformer(model: Any) -> Parts:
    neck = nn.Sequential(model.encoder.ln, ClassToken())
    return Parts([Patches(model), *model.encoder.layers], neck, model.hidden_dim)


def _scratch(model: scratch.ScratchNetwork) -> Parts:
    return Parts(list(model.blocks), model.neck, model.embedding_size)


def _torchvision(
    build: Callable[..., nn.Module], weights: models.WeightsEnum, take_apart: Callable[[Any], Parts], **options: Any
) -> Backbone:
    return Backbone(lambda: build(**options), take_apart, lambda: build(weights=weights))


BACKBONES: dict[str, Backbone] = {
    "mobilenet_v2": _torchvision(models.mobilenet_v2, models.MobileNet_V2_Weights.IMAGENET1K_V2, _features(1280)),
    "mobilenet_v3_large": _torchvision(
        models.mobilenet_v3_large, models.MobileNet_V3_Large_Weights.IMAGENET1K_V2, _mobilenet_v3
    ),
    "mobilenet_v3_small": _torchvision(
        models.mobilenet_v3_small, models.MobileNet_V3_Small_Weights.IMAGENET1K_V1, _mobilenet_v3
    ),
    "resnet18": _torchvision(models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1, _resnet),
    "resnet50": _torchvision(models.resnet50, models.ResNet50_Weights.IMAGENET1K_V2, _resnet),
    "inception_v3": _torchvision(
        models.inception_v3, models.Inception_V3_Weights.IMAGENET1K_V1, _inception, init_weights=False
    ),
    "vgg16": _torchvision(models.vgg16, models.VGG16_Weights.IMAGENET1K_V1, _features(512)),
    "vgg16_bn": _torchvision(models.vgg16_bn, models.VGG16_BN_Weights.IMAGENET1K_V1, _features(512)),
    "efficientnet_b0": _torchvision(
        models.efficientnet_b0, models.EfficientNet_B0_Weights.IMAGENET1K_V1, _features(1280)
    ),
    "efficientnet_v2_s": _torchvision(
        models.efficientnet_v2_s, models.EfficientNet_V2_S_Weights.IMAGENET1K_V1, _features(1280)
    ),
    "convnext_tiny": _torchvision(models.convnext_tiny, models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1, _convnext),
    "vit_b_16": _torchvision(models.vit_b_16, models.ViT_B_16_Weights.IMAGENET1K_V1, _vision_transformer),
    "cnn_2": Backbone(scratch.cnn_2, _scratch),
    "cnn_3": Backbone(scratch.cnn_3, _scratch),
    "cnn_resnet9": Backbone(scratch.cnn_resnet9, _scratch),
}
