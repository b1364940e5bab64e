"""What a phase trains on, and the way from there to logits; what is frozen runs once, or at least without gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from trainer.augment import augment
from trainer.evaluate import Score, embed, evaluate, score_logits
from trainer.mix import Targets, mix, mixes
from trainer.network import Classifier, frozen_block_count
from trainer.recipe import Phase


@dataclass(frozen=True)
class Split:
    """The decoded images of a split, uint8 [N, H, W, 3], and their labels, int64 [N]."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Inputs:
    """What a phase trains on; a batch of it passes through `prepare`, `frozen` and `trained`, in this order."""

    train: torch.Tensor  # [N, ...]
    prepare: Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, Targets]]  # batch, labels
    frozen: Callable[[torch.Tensor], torch.Tensor]  # called without gradients
    trained: nn.Module  # → logits [n, K]
    validate: Callable[[Classifier], Score]


def phase_inputs(network: Classifier, phase: Phase, train: Split, val: Split) -> Inputs:
    """Choose how a phase is fed: on features that the frozen backbone computes once, or on images."""
    if phase.unfreeze == "head" and phase.cache_features:
        return _feature_inputs(network, train, val)
    return _image_inputs(network, phase, train, val)


def _image_inputs(network: Classifier, phase: Phase, train: Split, val: Split) -> Inputs:
    """Train on images; what is frozen from the input on runs with its BatchNorms folded and without gradients."""
    if phase.unfreeze == "head":
        prefix, trained = folded(nn.Sequential(*network.blocks, network.neck)), network.head
    else:
        count = frozen_block_count(network)
        prefix = folded(network.blocks[:count])
        trained = nn.Sequential(network.blocks[count:], network.neck, network.head)

    def prepare(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, Targets]:
        images = augment(images, phase.augment, generator)
        return mix(images, labels, phase.augment, generator) if mixes(phase.augment) else (images, Targets(labels))

    return Inputs(
        train.images,
        prepare,
        lambda images: prefix(network.normalise(images)),
        trained,
        lambda candidate: evaluate(candidate, val.images, val.labels),
    )


def folded(blocks: nn.Sequential) -> nn.Module:
    """Return a copy of frozen blocks for evaluation, with BatchNorm folded into convolutions where torch.fx can."""
    try:
        return fuse(copy.deepcopy(blocks).eval())
    except (torch.fx.proxy.TraceError, TypeError, RuntimeError):  # its control flow depends on values
        return copy.deepcopy(blocks).eval()


def _feature_inputs(network: Classifier, train: Split, val: Split) -> Inputs:
    """Train the head on features that the frozen backbone computes once."""
    train_features, val_features = embed(network, train.images), embed(network, val.images)

    def validate(candidate: Classifier) -> Score:
        with torch.no_grad():
            return score_logits(candidate.eval().head(val_features).float().cpu(), val.labels)

    return Inputs(
        train_features, lambda features, labels, _: (features, Targets(labels)), nn.Identity(), network.head, validate
    )
