"""Look inside a network: what a layer makes of an image, and where in it the evidence for a class lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from trainer.network import Classifier
from trainer.report.errors import UnknownLayer

# Maps this wide, in pixels, still show what is in a picture.
LEGIBLE_SIDE = 24

Maps = torch.Tensor  # [N, C, h, w]


def as_maps(output: object) -> Maps | None:
    """Return a layer's output as maps [N, C, h, w] with h > 1, or None where it has no places.

    Square inputs give square maps, which tells [N, h, w, C] from [N, C, h, w]. Tokens are [N, h * w, C], or one more
    for the class, which is left out.
    """
    if not isinstance(output, torch.Tensor):
        return None
    if output.ndim == 4:
        is_last = output.shape[1] == output.shape[2] != output.shape[3]
        maps = output.permute(0, 3, 1, 2) if is_last else output
        return maps if maps.shape[2] > 1 else None
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        if side > 1 and output.shape[1] - side**2 in (0, 1):
            patches = output[:, output.shape[1] - side**2 :]
            return patches.transpose(1, 2).reshape(len(output), -1, side, side)
    return None


def layers_with_maps(network: Classifier, images: torch.Tensor) -> dict[str, tuple[int, int]]:
    """Return the layers whose output has places, in order, with channels and side: `blocks.3` → (24, 25).

    Layers are the blocks of the backbone; where none of them has maps (a network of one block), the parts of the
    blocks, and so on.
    """
    level: list[tuple[str, nn.Module]] = [(f"blocks.{name}", block) for name, block in network.blocks.named_children()]
    while level:
        found: dict[str, tuple[int, int]] = {}

        def note(name: str, output: object, found: dict[str, tuple[int, int]] = found) -> None:
            maps = as_maps(output)
            if maps is not None:
                found[name] = (maps.shape[1], maps.shape[2])

        with _watching(level, note), torch.no_grad():
            network.eval()(images[:1])
        if found:
            return found
        level = [(f"{name}.{part}", child) for name, layer in level for part, child in layer.named_children()]
    return {}


def choose_layer(layers: dict[str, tuple[int, int]], wanted: str | None) -> str | None:
    """Return the layer named, or else the deepest one that still shows what is in a picture; None without any.

    Raises `UnknownLayer`.
    """
    if wanted is not None:
        if wanted not in layers:
            raise UnknownLayer(wanted, list(layers))
        return wanted
    legible = [name for name, (_, side) in layers.items() if side >= LEGIBLE_SIDE]
    return legible[-1] if legible else next(iter(layers), None)


def feature_maps(network: Classifier, layer: str, images: torch.Tensor) -> Maps:
    """Return what `layer` makes of images uint8 [N, H, W, 3]: maps [N, C, h, w]."""
    kept: list[Maps] = []

    def keep(_: str, output: object) -> None:
        maps = as_maps(output)
        if maps is not None:
            kept.append(maps.clone())  # a following layer may work in place

    with _watching([(layer, network.get_submodule(layer))], keep), torch.no_grad():
        network.eval()(images)
    return kept[-1]


def explaining_layer(network: Classifier, layers: Sequence[str], images: torch.Tensor) -> str | None:
    """Return the layer that Grad-CAM looks at: the last of `layers` whose maps move the answer.

    The last block of a vision transformer feeds the head by its class token alone, so there no place has a gradient.
    """
    with torch.no_grad():
        predicted = network.eval()(images).argmax(1).tolist()
    for layer in reversed(layers):
        if _maps_and_gradient(network, layer, images, predicted)[1].any():
            return layer
    return None


def grad_cam(network: Classifier, layer: str, images: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Return heat maps [N, H, W] in 0..1: where images uint8 [N, H, W, 3] speak for their class of `classes`.

    Grad-CAM (Selvaraju et al. 2017): the maps of a layer, each weighted by the mean gradient of the class's logit over
    it, summed; what is negative speaks for another class and is left out. Each image's largest value is 1.
    """
    maps, gradient = _maps_and_gradient(network, layer, images, classes)
    heat = F.relu((maps * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True))
    heat = F.interpolate(heat, size=images.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)


def _maps_and_gradient(
    network: Classifier, layer: str, images: torch.Tensor, classes: Sequence[int]
) -> tuple[Maps, Maps]:
    """Return a layer's maps and the gradient of each image's class's logit over them; `layer` must have maps."""
    kept: list[torch.Tensor] = []

    def keep(_: str, output: object) -> None:
        if isinstance(output, torch.Tensor):
            kept.append(output)

    with _watching([(layer, network.get_submodule(layer))], keep), torch.enable_grad():
        network.eval().requires_grad_(True)
        logits = network(images)
        chosen = logits[range(len(images)), list(classes)].sum()
        (gradient,) = torch.autograd.grad(chosen, kept[-1])
    maps, slopes = as_maps(kept[-1].detach()), as_maps(gradient)
    assert maps is not None and slopes is not None  # by this function's promise
    return maps, slopes


@contextmanager
def _watching(layers: Sequence[tuple[str, nn.Module]], tell: Callable[[str, object], None]) -> Iterator[None]:
    """Tell of the output of each layer that runs inside the context."""

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _inputs, output: tell(name, output)

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
