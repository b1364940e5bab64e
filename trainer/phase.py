"""One phase of training: run its epochs, keep the best, leave a checkpoint after each.

Selection is by accuracy on the validation split, and the state before the first epoch is a candidate, so a phase never
leaves the network worse than it found it, unless its recipe keeps the last epoch: a phase that the next one carries on
may pass through worse states at a high rate. Small validation splits have few accuracies, and many epochs reach the
same one: of those the lowest loss is taken, for the first of them knows the classes but not yet how sure it may be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from trainer.checkpoint import Checkpoint
from trainer.distributed import rank
from trainer.errors import NonFiniteLoss
from trainer.history import Epoch
from trainer.learner import Learner, Trained
from trainer.progress import Reporter
from trainer.recipe import Phase


@dataclass(frozen=True)
class Watch:
    """Who is told of progress: `save` gets the state to continue from after each epoch."""

    save: Callable[[Checkpoint], None]
    reporter: Reporter


def run_phase(learner: Learner, phase: Phase, seed: int, state: Checkpoint, watch: Watch) -> None:
    """Train through one phase, from `state.epoch` on, and leave the network with its best weights, or its last.

    Raises `NonFiniteLoss` before the weights are touched by it, or else before they are saved.
    """
    images = len(learner.labels)
    if state.epoch == 0:
        watch.reporter.epoch_done(_judge(learner, phase, state, None, time.perf_counter()), phase.epochs)
    else:
        learner.optimizer.load_state_dict(state.optimizer)
        if learner.average:
            learner.average.restore(state.average)
    watch.reporter.start(phase.name, phase.epochs * images, state.epoch * images)
    while state.epoch < phase.epochs and not _stalled(phase, state):
        started = time.perf_counter()
        generator = _seed_epoch(seed, state.phase, state.epoch + 1)
        trained = learner.train_epoch(state.epoch + 1, generator, watch.reporter)
        state.epoch += 1
        state.network, state.optimizer = learner.network.state_dict(), learner.optimizer.state_dict()
        state.average = learner.average.state() if learner.average else {}
        watch.reporter.epoch_done(_judge(learner, phase, state, trained, started), phase.epochs)
        watch.save(state)
    learner.network.load_state_dict(state.best if phase.keep == "best" else learner.candidate.state_dict())


def _judge(learner: Learner, phase: Phase, state: Checkpoint, trained: Trained | None, started: float) -> Epoch:
    """Validate, record the epoch, and keep its weights if they are the best of the phase.

    Raises `NonFiniteLoss`: the last step of an epoch can spoil weights that no later step has been computed with.
    """
    score = learner.validate()
    if not np.isfinite(score.loss):
        raise NonFiniteLoss(phase.name, state.epoch, "validation")
    row = Epoch(
        phase=phase.name,
        epoch=state.epoch,
        val_loss=score.loss,
        val_accuracy=score.accuracy,
        seconds=time.perf_counter() - started,
        **(asdict(trained) if trained else {}),
    )
    state.history.append(row)
    if row.epoch == 0 or row.merit > (state.best_accuracy, -state.best_loss):
        state.best_accuracy, state.best_loss, state.best_epoch = row.val_accuracy, row.val_loss, row.epoch
        weights = learner.candidate.state_dict()
        state.best = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    return row


def _stalled(phase: Phase, state: Checkpoint) -> bool:
    """Tell whether patience is over: it counts from where the accuracy last rose; a lower loss does not feed it."""
    if phase.patience == 0:
        return False
    of_phase = state.history[-(state.epoch + 1) :]
    rose = next(row.epoch for row in of_phase if row.val_accuracy == state.best_accuracy)
    return state.epoch - rose >= phase.patience


def _seed_epoch(seed: int, phase: int, epoch: int) -> torch.Generator:
    """Make all randomness of an epoch a function of (seed, phase, epoch), so that a resumed run repeats it."""
    value = int(np.random.SeedSequence([seed, phase, epoch]).generate_state(1)[0])
    torch.manual_seed(value + rank())  # dropout, which must not repeat itself from process to process
    return torch.Generator().manual_seed(value)
