"""Convolutional networks without pretrained weights: the baselines that transfer learning is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ScratchNetwork(nn.Module):
    """Blocks of convolutions and a neck that ends in the embedding."""

    def __init__(self, blocks: Sequence[nn.Module], neck: nn.Module, embedding_size: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.neck = neck
        self.embedding_size = embedding_size


def cnn_2() -> ScratchNetwork:
    """Two convolutions (32, 64), each with pooling, and a dense layer of 128: the first network of most tutorials."""
    blocks = [_classic(3, 32), _classic(32, 64)]
    return ScratchNetwork(blocks, _dense(64, 8, 128), 128)


def cnn_3() -> ScratchNetwork:
    """Three convolutions (32, 64, 128), each with pooling, a dense layer of 256 and dropout of 0.5."""
    blocks = [_classic(3, 32), _classic(32, 64), _classic(64, 128)]
    return ScratchNetwork(blocks, nn.Sequential(_dense(128, 4, 256), nn.Dropout(0.5)), 256)


def cnn_resnet9() -> ScratchNetwork:
    """A residual network of nine layers, in the manner of the CIFAR-10 speed records (Page 2018, DAWNBench)."""
    blocks = [
        _convolution(3, 64),
        nn.Sequential(_convolution(64, 128), nn.MaxPool2d(2)),
        Residual(128),
        nn.Sequential(_convolution(128, 256), nn.MaxPool2d(2)),
        nn.Sequential(_convolution(256, 512), nn.MaxPool2d(2)),
        Residual(512),
    ]
    return ScratchNetwork(blocks, nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(1)), 512)


class Residual(nn.Module):
    """Two convolutions beside an identity: [N, D, h, w] → the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(_convolution(channels, channels), _convolution(channels, channels))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps plus what the convolutions make of them."""
        changed: torch.Tensor = maps + self.convolutions(maps)
        return changed


def _classic(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))


def _dense(channels: int, side: int, size: int) -> nn.Sequential:
    """A dense layer over maps of `side` pixels, which is what 32-pixel images give; other sizes are averaged to it."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(side),
        nn.Flatten(1),
        nn.Linear(channels * side**2, size),
        nn.ReLU(inplace=True),
    )


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
