"""The network part by part: shapes, parameters, and in which phases each part was trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from trainer.final_evaluation import cost_of
from trainer.network import Classifier, set_trainable
from trainer.recipe import Phase
from trainer.report.material import Material
from trainer.report.page import Section, Table, Text
from trainer.report.wording import amount


def network_section(material: Material) -> Section:
    """Show what the network is made of."""
    record, network = material.record, material.network
    image = torch.zeros(1, record.preprocess.size_px, record.preprocess.size_px, 3, dtype=torch.uint8)
    cost = cost_of(network, image)
    start = record.recipe.network.weights
    text = (
        f"{record.backbone}, starting from {'random weights' if start == 'none' else start}; head: {record.head}. "
        f"{cost.parameters:,} parameters, {amount(cost.flops)}FLOPs for one image of {record.preprocess.size_px} px "
        "(multiply and add counted apart, convolutions and matrix products alone)."
    )
    return Section("Network", [Text(text), summary_table(network, image, record.recipe.phase)])


def summary_table(network: Classifier, image: torch.Tensor, phases: Sequence[Phase]) -> Table:
    """List the parts of a network with the shape that each gives for one image uint8 [1, H, W, 3]."""
    parts = _parts(network)
    shapes = _shapes(network, [part for _, part in parts], image)
    trained: dict[str, list[str]] = {name: [] for name, _ in parts}
    for phase in phases:
        set_trainable(network, phase.unfreeze)
        for name, part in parts:
            if any(parameter.requires_grad for parameter in part.parameters()):
                trained[name].append(phase.name)
    rows = [
        (
            name,
            type(part).__name__,
            _names(trained[name], part),
            " x ".join(map(str, shape[1:])),
            f"{sum(parameter.numel() for parameter in part.parameters()):,}",
        )
        for (name, part), shape in zip(parts, shapes, strict=True)
    ]
    return Table(("Part", "Kind", "Trained in phase", "Output", "Parameters"), rows, left=3)


def _parts(network: Classifier) -> list[tuple[str, nn.Module]]:
    """List the blocks (the parts of the only block, where there is but one), the neck and the head."""
    blocks = [(f"blocks.{name}", block) for name, block in network.blocks.named_children()]
    if len(blocks) == 1:
        name, only = blocks[0]
        blocks = [(f"{name}.{part}", child) for part, child in only.named_children()] or blocks
    return [*blocks, ("neck", network.neck), ("head", network.head)]


def _shapes(network: Classifier, parts: Sequence[nn.Module], image: torch.Tensor) -> list[tuple[int, ...]]:
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            shapes[module] = tuple(output.shape)

    handles = [part.register_forward_hook(note) for part in parts]
    with torch.no_grad():
        network.eval()(image)
    for handle in handles:
        handle.remove()
    return [shapes.get(part, ()) for part in parts]


def _names(phases: Sequence[str], part: nn.Module) -> str:
    if not any(True for _ in part.parameters()):
        return "nothing to train"
    return ", ".join(phases) or "none: frozen"
