"""The names of the backbones and the input each was made for. Must not import torch: recipes are read without it."""

from __future__ import annotations

from dataclasses import dataclass

RGB = tuple[float, float, float]

IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
HALF: RGB = (0.5, 0.5, 0.5)

TIMM_PREFIX = "timm/"


@dataclass(frozen=True)
class Architecture:
    """What a recipe may leave out because the backbone implies it."""

    size_px: int = 224
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    has_weights: bool = True  # whether `weights = "imagenet"` exists


SCRATCH = Architecture(size_px=32, mean=HALF, std=HALF, has_weights=False)

ARCHITECTURES: dict[str, Architecture] = {
    "mobilenet_v2": Architecture(),
    "mobilenet_v3_large": Architecture(),
    "mobilenet_v3_small": Architecture(),
    "resnet18": Architecture(),
    "resnet50": Architecture(),
    "inception_v3": Architecture(size_px=299, mean=HALF, std=HALF),
    "vgg16": Architecture(),
    "vgg16_bn": Architecture(),
    "efficientnet_b0": Architecture(),
    "efficientnet_v2_s": Architecture(size_px=384),
    "convnext_tiny": Architecture(),
    "vit_b_16": Architecture(),
    "cnn_2": SCRATCH,
    "cnn_3": SCRATCH,
    "cnn_resnet9": SCRATCH,
}
