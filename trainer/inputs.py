"""What a phase trains on, and the way from there to logits; what is frozen runs once, or at least without gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from trainer.augment import augment
from trainer.distributed import from_leader
from trainer.evaluate import Score, answer_all, evaluate, score_logits
from trainer.gpu_memory import room_for
from trainer.mix import Targets, mix, mixes
from trainer.network import Classifier, frozen_block_count
from trainer.precision import uses_bfloat16
from trainer.progress import Reporter
from trainer.recipe import Augment, Compute, Phase

# The features of a split may take this much memory, and half of what is free on a GPU; where they are larger they are
# computed each time.
MOST_CACHED_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Split:
    """The decoded images of a split, uint8 [N, H, W, 3], and their labels, int64 [N]."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Surroundings:
    """What a phase is carried out with, and who is told."""

    compute: Compute = field(default_factory=Compute)
    reporter: Reporter | None = None


ALONE = Surroundings()


@dataclass(frozen=True)
class Inputs:
    """What a phase trains on; a batch of it passes through `prepare`, `frozen` and `trained`, in this order."""

    train: torch.Tensor  # [N, ...]
    prepare: Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, Targets]]  # batch, labels
    frozen: Callable[[torch.Tensor], torch.Tensor]  # called without gradients
    trained: nn.Module  # → logits [n, K]
    validate: Callable[[Classifier], Score]


class _Frozen:
    """The first parts of a network, in which nothing trains: BatchNorms folded, without gradients."""

    def __init__(self, network: Classifier, phase: Phase, reporter: Reporter | None) -> None:
        self._network = network
        self._name = phase.name
        self._reporter = reporter
        self._count = len(network.blocks) + 1 if phase.unfreeze == "head" else frozen_block_count(network)
        self._parts = folded(nn.Sequential(*_parts(network)[: self._count]))
        self._may_cache = phase.cache_features and self._count > 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features [n, ...] of images [n, H, W, 3]."""
        features: torch.Tensor = self._parts(self._network.normalise(images))
        return features

    def rest(self, network: Classifier) -> nn.Module:
        """Return what leads from the features to logits in `network`, which may be an average of this one."""
        return nn.Sequential(*_parts(network)[self._count :])

    def features_of(self, images: torch.Tensor, *, in_bfloat16: bool = False) -> torch.Tensor | None:
        """Return the features [N, ...] of images [N, H, W, 3]; None where they are not to be kept."""
        if not self._may_cache:
            return None
        with torch.autocast(self._network.scale.device.type, torch.bfloat16, enabled=in_bfloat16):
            one = answer_all(self._network, self, images[:1])
            needed = one.nbytes * len(images)
            # Each process sees its own GPU, but all must compute the features together or none.
            if not from_leader(lambda: needed <= MOST_CACHED_BYTES and room_for(needed, one.device)):
                return None
            if self._reporter is None:
                return answer_all(self._network, self, images)
            self._reporter.start(f"{self._name}: features, once", len(images))
            return answer_all(self._network, self, images, self._reporter.advance)


def phase_inputs(network: Classifier, phase: Phase, train: Split, val: Split, surroundings: Surroundings) -> Inputs:
    """Choose how a phase is fed: on features that the frozen part computes once where nothing augments, or on images.

    Validation is in float32 whatever training computes in.
    """
    frozen = _Frozen(network, phase, surroundings.reporter)
    trained, validate = frozen.rest(network), _validation(frozen, val)
    in_bfloat16 = uses_bfloat16(surroundings.compute, network.scale.device)
    features = frozen.features_of(train.images, in_bfloat16=in_bfloat16) if phase.augment == Augment() else None
    if features is not None:
        return Inputs(features, lambda batch, labels, _: (batch, Targets(labels)), nn.Identity(), trained, validate)

    def prepare(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, Targets]:
        images = augment(images, phase.augment, generator)
        return mix(images, labels, phase.augment, generator) if mixes(phase.augment) else (images, Targets(labels))

    return Inputs(train.images, prepare, frozen, trained, validate)


def _validation(frozen: _Frozen, val: Split) -> Callable[[Classifier], Score]:
    features = frozen.features_of(val.images)
    if features is None:
        return lambda candidate: evaluate(candidate, val.images, val.labels)

    @torch.no_grad()
    def validate(candidate: Classifier) -> Score:
        return score_logits(answer_all(candidate, frozen.rest(candidate), features).cpu(), val.labels)

    return validate


def _parts(network: Classifier) -> list[nn.Module]:
    return [*network.blocks, network.neck, network.head]


def folded(blocks: nn.Sequential) -> nn.Module:
    """Return a copy of frozen blocks for evaluation, with BatchNorm folded into convolutions where torch.fx can."""
    try:
        return fuse(copy.deepcopy(blocks).eval())
    except (torch.fx.proxy.TraceError, TypeError, RuntimeError):  # its control flow depends on values
        return copy.deepcopy(blocks).eval()
