"""A sweep finds where the loss falls, ends where it explodes, and writes nothing by itself."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.networks import quiet, tiny_network, tiny_phase, tiny_split
from trainer import rate_finder
from trainer.input_check import InputRefused
from trainer.inputs import Split
from trainer.learner import Learner
from trainer.rate_errors import NoRateFound, UnknownPhase
from trainer.rate_finder import HIGHEST, LOWEST, STEPS, Floats, Sweep, find_rate, smooth
from trainer.recipe import Recipe


def sweep_of(losses: Floats) -> Sweep:
    """Return a sweep over the usual rates with losses that need no smoothing."""
    return Sweep("tiny", np.geomspace(LOWEST, HIGHEST, STEPS)[: len(losses)], losses, losses)


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    """A logistic fall around 1e-3, then an explosion."""
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    sweep = sweep_of(2 - 1.5 / (1 + np.exp(-2 * np.log(rates / 1e-3))) + (rates / 2) ** 3)
    assert sweep.steepest == pytest.approx(1e-3, rel=0.25)
    assert 0.01 < sweep.at_minimum < 1


@pytest.mark.parametrize("losses", [np.linspace(1.0, 4.0, 40), np.array([3.0]), np.ones(30)])
def test_a_loss_that_falls_nowhere_suggests_nothing(losses: Floats) -> None:
    with pytest.raises(NoRateFound, match="fell at no learning rate from 1e-07 to"):
        _ = sweep_of(losses).steepest


def test_smoothing_starts_at_the_first_loss_and_keeps_a_level() -> None:
    assert smooth(np.full(20, 2.5)) == pytest.approx(np.full(20, 2.5))
    smoothed = smooth(np.array([1.0, 2.0]))
    assert smoothed[0] == pytest.approx(1.0)
    assert smoothed[1] == pytest.approx((0.9 * 0.1 * 1 + 0.1 * 2) / 0.19)


def test_a_real_phase_has_a_rate_between_nothing_and_explosion(recipe: Recipe) -> None:
    sweep = find_rate(recipe, reporter=quiet())
    assert sweep.phase == "head"
    assert len(sweep.rates) == len(sweep.losses) == len(sweep.smoothed) <= STEPS
    assert 1e-5 < sweep.steepest <= sweep.at_minimum
    again = find_rate(recipe, "head", reporter=quiet())
    assert np.array_equal(again.losses, sweep.losses)


def test_every_phase_can_be_swept(recipe: Recipe) -> None:
    sweep = find_rate(recipe, "tail", reporter=quiet())
    assert sweep.phase == "tail"
    assert sweep.smoothed[-1] > sweep.smoothed.min(), "rates up to 10 must end in an explosion"


def test_a_phase_that_is_not_there_is_named(recipe: Recipe) -> None:
    with pytest.raises(UnknownPhase, match="no phase 'neck': choose one of head, tail"):
        find_rate(recipe, "neck", reporter=quiet())


def test_a_size_that_the_backbone_cannot_take_is_refused(recipe: Recipe) -> None:
    network = recipe.network.model_copy(update={"backbone": "vgg16", "weights": "none"})
    small = recipe.model_copy(
        update={"network": network, "preprocess": recipe.preprocess.model_copy(update={"size_px": 16})}
    )
    with pytest.raises(InputRefused, match="vgg16 cannot take images of 16 px"):
        find_rate(small, reporter=quiet())


def test_the_data_are_left_alone(recipe: Recipe, photos: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    find_rate(recipe, reporter=quiet())
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before


def test_a_sweep_draws_its_batches_as_the_phase_does() -> None:
    """Of rare classes as many as of the others, where the phase is balanced so."""
    labels = torch.tensor([0] * 60 + [1] * 3)
    split = Split(tiny_split(63).images, labels)
    learner = Learner(tiny_network(), tiny_phase(batch_size=21, balance="sampling"), split, tiny_split(6))
    drawn = torch.cat(list(islice(rate_finder._batches(learner, 21, torch.Generator().manual_seed(0)), 9)))
    assert 0.4 < labels[drawn].float().mean() < 0.6
