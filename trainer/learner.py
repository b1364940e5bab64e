"""One epoch of training: batches in, steps of the optimizer out.

A learner trains either on images through the network or, where the whole backbone is frozen, on features that the
backbone computes once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from trainer.augment import augment
from trainer.errors import NonFiniteLoss
from trainer.evaluate import Score, embed, evaluate, score_logits
from trainer.mix import Targets, mix, mixes
from trainer.network import Classifier, frozen_block_count, set_trainable, train_mode
from trainer.optimise import Average, build_optimizer, set_rate
from trainer.progress import Reporter
from trainer.recipe import Phase


@dataclass(frozen=True)
class Split:
    """The decoded images of a split, uint8 [N, H, W, 3], and their labels, int64 [N]."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Inputs:
    """What a phase trains on and how."""

    train: torch.Tensor  # [N, ...]
    forward: Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, Targets]]  # batch, labels
    validate: Callable[[Classifier], Score]


@dataclass(frozen=True)
class Trained:
    """What an epoch of training came to."""

    train_loss: float  # mean of the steps, nats
    train_accuracy: float  # on augmented images, while the weights moved; a mixed image counts as its first class
    lr: float  # the highest, at the end
    images_per_s: float


class Learner:
    """A network set up for one phase: what may move, the optimizer that moves it, and the average of where it was."""

    def __init__(self, network: Classifier, phase: Phase, train: Split, val: Split) -> None:
        set_trainable(network, phase.unfreeze)
        self.network = network
        self.optimizer = build_optimizer(network, phase.optim)
        self.average = Average(network, phase.optim.ema_decay) if phase.optim.ema_decay > 0 else None
        self._phase = phase
        self.labels = train.labels
        head_only = phase.unfreeze == "head"
        self._inputs = _feature_inputs(network, train, val) if head_only else _image_inputs(network, phase, train, val)

    @property
    def candidate(self) -> Classifier:
        """Return the network that is judged: the average where there is one."""
        return self.average.network if self.average else self.network

    def validate(self) -> Score:
        """Score the candidate on the validation split."""
        return self._inputs.validate(self.candidate)

    def train_epoch(self, epoch: int, generator: torch.Generator, reporter: Reporter) -> Trained:
        """Run epoch number `epoch` (from 1). Raises `NonFiniteLoss` before the step that it would spoil."""
        train_mode(self.network)
        size = min(self._phase.batch_size, len(self.labels))
        steps = len(self.labels) // size
        optim = self._phase.optim
        schedule_steps = (optim.schedule_epochs or self._phase.epochs) * steps
        order = torch.randperm(len(self.labels), generator=generator)
        total_loss, correct, rate, started = 0.0, 0, 0.0, time.perf_counter()
        for step in range(steps):
            rate = set_rate(self.optimizer, optim, (epoch - 1) * steps + step, schedule_steps)
            loss, hits = self._step(order[step * size : (step + 1) * size], generator)
            if not np.isfinite(loss):
                raise NonFiniteLoss(self._phase.name, epoch, f"step {step + 1}")
            total_loss += loss
            correct += hits
            seen, seconds = (step + 1) * size, time.perf_counter() - started
            status = f"loss {total_loss / (step + 1):.4f}  accuracy {correct / seen:.4f}  {seen / seconds:.0f} images/s"
            reporter.advance(size, status)
        seen = steps * size
        return Trained(total_loss / steps, correct / seen, rate, seen / (time.perf_counter() - started))

    def _step(self, chosen: torch.Tensor, generator: torch.Generator) -> tuple[float, int]:
        """Learn from the chosen examples; return loss and hits. A loss that is not finite moves nothing."""
        device = next(self.network.parameters()).device
        labels = self.labels[chosen].to(device)
        batch = self._inputs.train[chosen.to(self._inputs.train.device)].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits, targets = self._inputs.forward(batch, labels, generator)
        optim = self._phase.optim
        loss = targets.loss(logits.float(), optim.label_smoothing)
        value = float(loss.detach())
        if np.isfinite(value):
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if optim.clip_norm > 0:
                nn.utils.clip_grad_norm_(self.network.parameters(), optim.clip_norm)
            self.optimizer.step()
            if self.average:
                self.average.update(self.network)
        return value, int((logits.detach().argmax(1) == labels).sum())


def _image_inputs(network: Classifier, phase: Phase, train: Split, val: Split) -> Inputs:
    """Train on images; what is frozen from the input on runs with its BatchNorms folded and without gradients."""
    frozen = frozen_block_count(network)
    prefix = folded(network.blocks[:frozen])
    rest = network.blocks[frozen:]

    def forward(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, Targets]:
        targets = Targets(labels)
        with torch.no_grad():
            images = augment(images, phase.augment, generator)
            if mixes(phase.augment):
                images, targets = mix(images, labels, phase.augment, generator)
            hidden = prefix(network.normalise(images))
        return network.head(network.neck(rest(hidden))), targets

    return Inputs(train.images, forward, lambda candidate: evaluate(candidate, val.images, val.labels))


def folded(blocks: nn.Sequential) -> nn.Module:
    """Return a copy of frozen blocks for evaluation, with BatchNorm folded into convolutions where torch.fx can."""
    try:
        return fuse(copy.deepcopy(blocks).eval())
    except (torch.fx.proxy.TraceError, TypeError, RuntimeError):  # its control flow depends on values
        return copy.deepcopy(blocks).eval()


def _feature_inputs(network: Classifier, train: Split, val: Split) -> Inputs:
    """Train the head on features that the frozen backbone computes once."""
    train_features, val_features = embed(network, train.images), embed(network, val.images)

    def forward(features: torch.Tensor, labels: torch.Tensor, _: torch.Generator) -> tuple[torch.Tensor, Targets]:
        return network.head(features), Targets(labels)

    def validate(candidate: Classifier) -> Score:
        with torch.no_grad():
            return score_logits(candidate.eval().head(val_features).float().cpu(), val.labels)

    return Inputs(train_features, forward, validate)
