"""bfloat16: where training uses it, and the layers that stay in float32 for the sake of speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx
from torch import nn
from torch.nn import functional as F  # noqa: N812

from trainer.recipe import Compute


def uses_bfloat16(compute: Compute, device: torch.device) -> bool:
    """Tell whether forward passes run under bfloat16 autocast."""
    if compute.precision == "auto":  # faster on CPUs with AMX, which it does not look for
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return compute.precision == "bfloat16"


@torch.fx.wrap
def _convolve_in_float32(inputs: torch.Tensor, weight: torch.Tensor, options: tuple[Any, ...]) -> torch.Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return F.conv2d(inputs.float(), weight, *options).to(inputs.dtype)


class _Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves alone; torch.fx does not look into it."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        options = (self.bias, self.stride, self.padding, self.dilation, self.groups)
        convolved: torch.Tensor = _convolve_in_float32(inputs, self.weight, options)
        return convolved


def keep_strided_depthwise_in_float32(network: nn.Module) -> None:
    """Take grouped convolutions with a stride out of autocast, in place; weights and their names stay.

    On CPUs their gradients take 79 ms in bfloat16 where float32 takes 9 (64 images of 96 channels at 49 px, two cores
    with AMX).
    """
    for layer in network.modules():
        if type(layer) is not nn.Conv2d or layer.padding_mode != "zeros":
            continue
        if layer.groups > 1 and max(layer.stride) > 1:
            layer.__class__ = _Float32Conv2d


def leave_to_autocast(network: nn.Module) -> None:
    """Undo `keep_strided_depthwise_in_float32`, in place: what no longer trains has no gradients to wait for."""
    for layer in network.modules():
        if type(layer) is _Float32Conv2d:
            layer.__class__ = nn.Conv2d  # type: ignore[assignment]


@contextmanager
def without_tf32() -> Iterator[None]:
    """Keep the convolutions of CUDA devices from rounding float32 to TF32, whose 10 bits another device does not have.

    From Ampere on cuDNN rounds unless told (PyTorch's notes on CUDA semantics).
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
