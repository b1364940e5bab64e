"""One epoch of training: batches in, steps of the optimizer out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from linnet.errors import first_line
from trainer.balance import class_weights, even_order
from trainer.distributed import (
    average_statistics,
    own_rows,
    process_count,
    summed,
    without_exchange,
    wrapped,
)
from trainer.errors import BatchTooSmall, CannotCompile, NonFiniteLoss
from trainer.evaluate import Score
from trainer.inputs import ALONE, Split, Surroundings, phase_inputs
from trainer.mix import Targets
from trainer.network import Classifier, set_trainable, train_mode
from trainer.optimise import Average, build_optimizer, set_rate
from trainer.precision import keep_strided_depthwise_in_float32, leave_to_autocast, uses_bfloat16
from trainer.progress import Reporter
from trainer.recipe import Phase


@dataclass(frozen=True)
class Trained:
    """What an epoch of training came to."""

    train_loss: float  # mean of the steps, nats
    train_accuracy: float  # on augmented images, while the weights moved; a mixed image counts as its first class
    lr: float  # the highest, at the end
    images_per_s: float


class Learner:
    """A network set up for one phase: what may move, the optimizer that moves it, and the average of where it was."""

    def __init__(
        self,
        network: Classifier,
        phase: Phase,
        train: Split,
        val: Split,
        surroundings: Surroundings = ALONE,
    ) -> None:
        """Set the network up; raises `BatchTooSmall`, for a norm in training wants two images in every part."""
        self._batch_size = batch_size(phase, len(train.labels))
        set_trainable(network, phase.unfreeze)
        self.network = network
        self.optimizer = build_optimizer(network, phase.optim)
        self.average = Average(network, phase.optim.ema_decay) if phase.optim.ema_decay > 0 else None
        self.labels = train.labels
        self._phase = phase
        self._compute = surroundings.compute
        self._device = next(network.parameters()).device
        self._in_bfloat16 = uses_bfloat16(self._compute, self._device)
        self._weights = class_weights(train.labels).to(self._device) if phase.optim.balance == "loss" else None
        leave_to_autocast(network)  # an earlier phase may have trained more of it
        self._inputs = phase_inputs(network, phase, train, val, surroundings)
        if self._in_bfloat16 and self._device.type == "cpu":
            keep_strided_depthwise_in_float32(self._inputs.trained)
        self._exchange = wrapped(self._inputs.trained)
        self._trained = _compiled(self._exchange) if self._compute.compile else self._exchange

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
        size = self._batch_size
        steps = len(self.labels) // size
        optim = self._phase.optim
        schedule_steps = (optim.schedule_epochs or self._phase.epochs) * steps
        order = self.order(generator)
        total_loss, correct, rate, started = 0.0, 0, 0.0, time.perf_counter()
        for step in range(steps):
            rate = set_rate(self.optimizer, optim, (epoch - 1) * steps + step, schedule_steps)
            loss, hits = self.step(order[step * size : (step + 1) * size], generator)
            if not np.isfinite(loss):
                raise NonFiniteLoss(self._phase.name, epoch, f"step {step + 1}")
            total_loss += loss
            correct += hits
            seen, seconds = (step + 1) * size, time.perf_counter() - started
            status = f"loss {total_loss / (step + 1):.4f}  accuracy {correct / seen:.4f}  {seen / seconds:.0f} images/s"
            reporter.advance(size, status)
        average_statistics(self.network)
        average_statistics(self.candidate)
        seen = steps * size
        return Trained(total_loss / steps, correct / seen, rate, seen / (time.perf_counter() - started))

    def order(self, generator: torch.Generator) -> torch.Tensor:
        """Draw the order in which an epoch takes the examples: each once, or rare classes as often as the others."""
        if self._phase.optim.balance == "sampling":
            return even_order(self.labels, generator)
        return torch.randperm(len(self.labels), generator=generator)

    def step(self, chosen: torch.Tensor, generator: torch.Generator) -> tuple[float, int]:
        """Learn from the chosen examples; return loss and hits. A loss that is not finite moves nothing."""
        labels = self.labels[chosen].to(self._device)
        batch = self._inputs.train[chosen.to(self._inputs.train.device)].to(self._device)
        with torch.no_grad():
            batch, targets = self._inputs.prepare(batch, labels, generator)
        targets = replace(targets, weights=self._weights)
        self.optimizer.zero_grad()
        total, hits = 0.0, 0
        for rows, is_last in _parts(own_rows(len(batch)), self._phase.accumulate):
            with nullcontext() if is_last else without_exchange(self._exchange):
                loss, correct = self._forward(batch[rows], targets.part(rows), len(batch))
                value, right = summed(float(loss.detach()), correct)
                total, hits = total + value, hits + int(right)
                if not np.isfinite(total):
                    return total, hits
                # The exchange takes the mean over the processes, and their losses add up.
                (loss * process_count()).backward()  # type: ignore[no-untyped-call]
        if self._phase.optim.clip_norm > 0:
            moving = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
            nn.utils.clip_grad_norm_(moving, self._phase.optim.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update(self.network)
        return total, hits

    def _forward(self, part: torch.Tensor, targets: Targets, whole: int) -> tuple[torch.Tensor, int]:
        """Return the part's share of the mean loss over the `whole` batch, and its hits."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bfloat16):
            with torch.no_grad():
                hidden = self._inputs.frozen(part)
            logits = self._trained(hidden)
        loss = targets.loss(logits.float(), self._phase.optim.label_smoothing)
        return loss * (len(part) / whole), int((logits.detach().argmax(1) == targets.labels).sum())


def batch_size(phase: Phase, images: int) -> int:
    """Return what a step learns from, no more than all `images`; raises `BatchTooSmall` where it cannot be cut."""
    size = min(phase.batch_size, images)
    parts = process_count() * phase.accumulate
    if parts > 1 and size < 2 * parts:
        raise BatchTooSmall(size, process_count(), phase.accumulate)
    return size


def _compiled(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the module's forward pass, compiled when it is first called. Raises `CannotCompile` then."""
    from torch._dynamo.exc import TorchDynamoException

    fast = torch.compile(module)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        try:
            outputs: torch.Tensor = fast(inputs)
        except TorchDynamoException as error:
            raise CannotCompile(first_line(error)) from error
        return outputs

    return forward


def _parts(rows: slice, count: int) -> Iterator[tuple[slice, bool]]:
    """Cut rows into `count` parts of nearly equal size; tell which is the last."""
    bounds = [rows.start + (rows.stop - rows.start) * part // count for part in range(count + 1)]
    return ((slice(start, end), end == rows.stop) for start, end in pairwise(bounds))
