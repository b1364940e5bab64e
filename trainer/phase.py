"""One phase of training: set what may move, run its epochs, keep the best.

Selection is by accuracy on the validation split, and the state before the first epoch is a candidate, so a phase never
leaves the network worse than it found it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F  # noqa: N812

from trainer.augment import augment
from trainer.checkpoint import Checkpoint
from trainer.errors import NonFiniteLoss
from trainer.evaluate import Score, embed, evaluate, score_logits
from trainer.history import Epoch
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
    """What a phase trains on and how: images through the network, or cached features through its head."""

    train: torch.Tensor  # [N, ...]
    forward: Callable[[torch.Tensor, torch.Generator], torch.Tensor]  # a batch of `train` → logits
    validate: Callable[[Classifier], Score]


def run_phase(
    network: Classifier,
    phase: Phase,
    seed: int,
    train: Split,
    val: Split,
    state: Checkpoint,
    save: Callable[[Checkpoint], None],
    reporter: Reporter,
) -> None:
    """Train `network` through one phase, from `state.epoch` on, and leave it with the phase's best weights.

    `save` is called after each epoch with the state to continue from. Raises `NonFiniteLoss` before the weights are
    touched by it.
    """
    set_trainable(network, phase.unfreeze)
    inputs = (
        _head_inputs(network, train, val) if phase.unfreeze == "head" else _image_inputs(network, phase, train, val)
    )
    optimizer = build_optimizer(network, phase.optim)
    average = Average(network, phase.optim.ema_decay) if phase.optim.ema_decay > 0 else None
    candidate = average.network if average else network
    if state.epoch == 0:
        _judge(candidate, phase, state, _validated(inputs, candidate, phase), reporter)
    else:
        optimizer.load_state_dict(state.optimizer)
        if average:
            average.restore(state.average)
    reporter.start(phase.name, phase.epochs * len(train.labels), state.epoch * len(train.labels))
    while state.epoch < phase.epochs and not _stalled(phase, state):
        started = time.perf_counter()
        epoch = state.epoch + 1
        generator = _seed_epoch(seed, state.phase, epoch)
        trained = _train_epoch(network, phase, epoch, inputs, train.labels, optimizer, average, generator, reporter)
        score = inputs.validate(candidate)
        row = Epoch(
            phase.name, epoch, *trained[:2], score.loss, score.accuracy, *trained[2:], time.perf_counter() - started
        )
        state.epoch = epoch
        state.network, state.optimizer = network.state_dict(), optimizer.state_dict()
        state.average = average.state() if average else {}
        _judge(candidate, phase, state, row, reporter)
        save(state)
    network.load_state_dict(state.best)


def _train_epoch(
    network: Classifier,
    phase: Phase,
    epoch: int,
    inputs: Inputs,
    labels: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    generator: torch.Generator,
    reporter: Reporter,
) -> tuple[float, float, float, float]:
    """Run one epoch; return mean loss, accuracy, the last learning rate and images per second."""
    train_mode(network)
    device = next(network.parameters()).device
    size = min(phase.batch_size, len(labels))
    steps = len(labels) // size
    order = torch.randperm(len(labels), generator=generator)
    total_loss, correct, rate, started = 0.0, 0, 0.0, time.perf_counter()
    for step in range(steps):
        rate = set_rate(optimizer, phase.optim, (epoch - 1) * steps + step, phase.epochs * steps)
        chosen = order[step * size : (step + 1) * size]
        targets = labels[chosen].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = inputs.forward(inputs.train[chosen.to(inputs.train.device)].to(device), generator)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=phase.optim.label_smoothing)
        loss_value = float(loss.detach())
        if not np.isfinite(loss_value):
            raise NonFiniteLoss(phase.name, epoch, step + 1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if phase.optim.clip_norm > 0:
            nn.utils.clip_grad_norm_(network.parameters(), phase.optim.clip_norm)
        optimizer.step()
        if average:
            average.update(network)
        total_loss += loss_value
        correct += int((logits.detach().argmax(1) == targets).sum())
        seen, seconds = (step + 1) * size, time.perf_counter() - started
        reporter.advance(
            size, f"loss {total_loss / (step + 1):.4f}  accuracy {correct / seen:.4f}  {seen / seconds:.0f} images/s"
        )
    seen = steps * size
    return total_loss / steps, correct / seen, rate, seen / (time.perf_counter() - started)


def _image_inputs(network: Classifier, phase: Phase, train: Split, val: Split) -> Inputs:
    """Train on images; what is frozen from the input on runs with its BatchNorms folded and without gradients."""
    frozen = frozen_block_count(network)
    prefix = fuse(nn.Sequential(*network.blocks[:frozen]).eval())
    rest = network.blocks[frozen:]

    def forward(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        with torch.no_grad():
            hidden = prefix(network.normalise(augment(images, phase.augment, generator)))
        logits: torch.Tensor = network.head(network.pool(rest(hidden)))
        return logits

    return Inputs(train.images, forward, lambda candidate: evaluate(candidate, val.images, val.labels))


def _head_inputs(network: Classifier, train: Split, val: Split) -> Inputs:
    """Train the head on features that the frozen backbone computes once."""
    train_features, val_features = embed(network, train.images), embed(network, val.images)

    def forward(features: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        logits: torch.Tensor = network.head(features)
        return logits

    def validate(candidate: Classifier) -> Score:
        with torch.no_grad():
            return score_logits(candidate.eval().head(val_features).float().cpu(), val.labels)

    return Inputs(train_features, forward, validate)


def _validated(inputs: Inputs, candidate: Classifier, phase: Phase) -> Epoch:
    """Return the row of epoch 0: the network as the phase found it."""
    started = time.perf_counter()
    score = inputs.validate(candidate)
    return Epoch(phase.name, 0, None, None, score.loss, score.accuracy, None, None, time.perf_counter() - started)


def _judge(candidate: Classifier, phase: Phase, state: Checkpoint, row: Epoch, reporter: Reporter) -> None:
    """Record an epoch, and keep its weights if they are the best of the phase."""
    state.history.append(row)
    reporter.epoch_done(row, phase.epochs)
    if row.epoch == 0 or row.val_accuracy > state.best_accuracy:
        state.best_accuracy, state.best_epoch = row.val_accuracy, row.epoch
        state.best = {name: tensor.detach().cpu().clone() for name, tensor in candidate.state_dict().items()}


def _stalled(phase: Phase, state: Checkpoint) -> bool:
    return phase.patience > 0 and state.epoch - state.best_epoch >= phase.patience


def _seed_epoch(seed: int, phase: int, epoch: int) -> torch.Generator:
    """Make all randomness of an epoch a function of (seed, phase, epoch), so that a resumed run repeats it."""
    value = int(np.random.SeedSequence([seed, phase, epoch]).generate_state(1)[0])
    torch.manual_seed(value)  # dropout
    return torch.Generator().manual_seed(value)
