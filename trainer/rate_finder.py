"""Find the learning rate of a phase: a short training at ever larger rates (Smith 2017, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from trainer.data import Example, find_dataset
from trainer.gpu_memory import told_when_full
from trainer.images import decode, labels_of
from trainer.input_check import check_sizes
from trainer.inputs import Split, Surroundings
from trainer.learner import Learner
from trainer.memory import keep_freed_blocks
from trainer.network import build_classifier, chosen_device, train_mode
from trainer.progress import Reporter
from trainer.rate_errors import NoRateFound, UnknownPhase
from trainer.recipe import Phase, Recipe

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100  # fastai's
SMOOTHING = 0.9  # of the exponential moving average of the loss
DIVERGED = 4.0  # times the lowest smoothed loss: the sweep ends, as fastai's does
SETTLING = 5  # first steps, whose average is of too few losses to be judged by

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Losses over exponentially growing learning rates."""

    phase: str
    rates: Floats  # [S], of the head; other parts keep their ratio to it
    losses: Floats  # [S], of each step's batch, nats
    smoothed: Floats  # [S]

    @property
    def steepest(self) -> float:
        """Return the rate at which the smoothed loss falls fastest over the logarithm of the rate: the suggestion.

        Raises `NoRateFound` where it falls nowhere.
        """
        last = int(self.smoothed.argmin())
        if last <= SETTLING:
            raise NoRateFound(self.phase, float(self.rates[0]), float(self.rates[-1]))
        slopes = np.gradient(self.smoothed[: last + 1], np.log(self.rates[: last + 1]))
        return float(self.rates[SETTLING + int(slopes[SETTLING:last].argmin())])

    @property
    def at_minimum(self) -> float:
        """Return the rate of the lowest smoothed loss; a tenth of it is the other common choice."""
        return float(self.rates[self.smoothed.argmin()])


@told_when_full()
def find_rate(recipe: Recipe, phase_name: str | None = None, *, reporter: Reporter) -> Sweep:
    """Sweep the learning rate of a phase, the first unless named, and write nothing.

    The phase begins with the recipe's own weights, whatever phases stand before it, and sees as many training images
    as the sweep needs. Raises `UnknownPhase`, `InputRefused`, `BatchTooSmall`, a `DataError` or what
    `build_classifier` raises.
    """
    phase = _phase(recipe, phase_name)
    keep_freed_blocks()
    spec = recipe.preprocess.model_copy(update={"size_px": phase.size_px or recipe.preprocess.size_px})
    dataset = find_dataset(recipe.data, recipe.seed)
    few = _sample(dataset.train, STEPS * phase.batch_size, recipe.seed)
    torch.manual_seed(recipe.seed)
    network = build_classifier(recipe.network, len(dataset.classes), recipe.preprocess)
    check_sizes(network, recipe)
    network = network.to(chosen_device())
    reporter.start(f"decode {len(few)} images at {spec.size_px} px", len(few))
    train = Split(decode(few, spec, reporter.advance), labels_of(few))
    val = Split(train.images[:1], train.labels[:1])  # a learner wants one; the sweep validates nothing
    return _sweep(
        Learner(network, phase, train, val, Surroundings(recipe.compute, reporter)), phase, recipe.seed, reporter
    )


def _phase(recipe: Recipe, name: str | None) -> Phase:
    """Return the phase without what a sweep has no use for: the average of the weights."""
    known = [phase.name for phase in recipe.phase]
    if name is not None and name not in known:
        raise UnknownPhase(name, known)
    phase = recipe.phase[known.index(name) if name else 0]
    return phase.model_copy(update={"optim": phase.optim.model_copy(update={"ema_decay": 0.0})})


def _sample(examples: tuple[Example, ...], count: int, seed: int) -> list[Example]:
    return random.Random(seed).sample(examples, min(count, len(examples)))


def _sweep(learner: Learner, phase: Phase, seed: int, reporter: Reporter) -> Sweep:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout
    train_mode(learner.network)
    rates: Floats = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses: list[float] = []
    batches = _batches(learner, phase.batch_size, generator)
    reporter.start(f"sweep {phase.name}", STEPS)
    for rate, batch in zip(rates, islice(batches, STEPS), strict=True):
        for group in learner.optimizer.param_groups:
            group["lr"] = float(rate) * group["peak_lr"] / phase.optim.lr
        loss, _ = learner.step(batch, generator)
        reporter.advance(1, f"rate {rate:.1e}  loss {loss:.4f}")
        if not np.isfinite(loss):
            break
        losses.append(loss)
        smoothed = smooth(np.array(losses))
        if smoothed[-1] > DIVERGED * smoothed.min():
            break
    if not losses:
        raise NoRateFound(phase.name, LOWEST, HIGHEST)
    return Sweep(phase.name, rates[: len(losses)], np.array(losses), smooth(np.array(losses)))


def smooth(losses: Floats) -> Floats:
    """Return the exponential moving average of losses [S], corrected for its start at zero."""
    average, smoothed = 0.0, np.empty_like(losses)
    for step, loss in enumerate(losses):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed[step] = average / (1 - SMOOTHING ** (step + 1))
    return smoothed


def _batches(learner: Learner, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Draw batches without end, as the phase would; every pass over the images is in another order."""
    count = len(learner.labels)
    size = min(size, count)
    while True:
        order = learner.order(generator)
        yield from (order[start : start + size] for start in range(0, count - size + 1, size))
