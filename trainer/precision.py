"""bfloat16: where training uses it, and the layers that stay in float32 for the sake of speed."""

from __future__ import annotations

import torch
from torch import nn

from trainer.recipe import Compute


def uses_bfloat16(compute: Compute, device: torch.device) -> bool:
    """Tell whether forward passes run under bfloat16 autocast."""
    if compute.precision == "auto":  # faster on CPUs with AMX, which it does not look for
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return compute.precision == "bfloat16"


class _Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves alone."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.float()).to(inputs.dtype)


def keep_strided_depthwise_in_float32(network: nn.Module) -> None:
    """Take grouped convolutions with a stride out of autocast, in place; weights and their names stay.

    On CPUs, oneDNN computes their gradients in bfloat16 by its reference code: 79 ms where float32 takes 9 (64 images
    of 96 channels at 49 px, two cores with AMX).
    """
    for layer in network.modules():
        if type(layer) is nn.Conv2d and layer.groups > 1 and max(layer.stride) > 1:
            layer.__class__ = _Float32Conv2d
