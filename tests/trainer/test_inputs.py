"""What is frozen computes its features once: only where that changes no number, and only where they fit."""

from __future__ import annotations

from io import StringIO

import pytest
import torch
from rich.console import Console

from tests.trainer.networks import tiny_network, tiny_phase, tiny_split
from trainer import inputs
from trainer.evaluate import evaluate
from trainer.inputs import ALONE, Inputs, Surroundings, phase_inputs
from trainer.network import set_trainable
from trainer.progress import Reporter
from trainer.recipe import Augment, Compute, Phase

TRAIN, VAL = tiny_split(24, seed=1), tiny_split(9, seed=2)


def inputs_of(phase: Phase, surroundings: Surroundings = ALONE) -> Inputs:
    network = tiny_network()
    set_trainable(network, phase.unfreeze)
    return phase_inputs(network, phase, TRAIN, VAL, surroundings)


def flipping(phase: Phase) -> Phase:
    return phase.model_copy(update={"augment": Augment(flip=True)})


@pytest.mark.parametrize(("unfreeze", "shape"), [("head", (8,)), ("1 blocks", (8, 8, 8)), ("2 blocks", (8, 8, 8))])
def test_features_are_computed_once_where_nothing_augments(unfreeze: str, shape: tuple[int, ...]) -> None:
    fed = inputs_of(tiny_phase(unfreeze))
    assert fed.train.shape == (24, *shape)
    assert fed.train.dtype == torch.float32
    assert torch.equal(fed.frozen(fed.train), fed.train)


@pytest.mark.parametrize(
    "phase",
    [
        tiny_phase("all"),
        flipping(tiny_phase("1 blocks")),
        tiny_phase("1 blocks").model_copy(update={"cache_features": False}),
    ],
    ids=["nothing frozen", "augmented", "not wanted"],
)
def test_training_is_on_images_otherwise(phase: Phase) -> None:
    assert inputs_of(phase).train is TRAIN.images


def test_features_that_would_not_fit_are_computed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = tiny_phase("1 blocks")
    cached = inputs_of(phase)
    one = cached.train[0].nbytes
    monkeypatch.setattr(inputs, "MOST_CACHED_BYTES", 24 * one - 1)
    each_time = inputs_of(phase)
    assert each_time.train is TRAIN.images
    assert torch.allclose(each_time.frozen(TRAIN.images), cached.train, atol=1e-6)
    monkeypatch.setattr(inputs, "MOST_CACHED_BYTES", 24 * one)
    assert torch.equal(inputs_of(phase).train, cached.train)


@pytest.mark.parametrize("phase", [tiny_phase("head"), tiny_phase("2 blocks"), flipping(tiny_phase("2 blocks"))])
def test_validation_on_features_judges_the_candidate_as_it_is(phase: Phase) -> None:
    """The candidate may be another network than the one whose frozen part was asked, with other trained weights."""
    network, candidate = tiny_network(), tiny_network()
    set_trainable(network, phase.unfreeze)
    with torch.no_grad():
        for weights in candidate.head.parameters():
            weights.mul_(3.0)
    validate = phase_inputs(network, phase, TRAIN, VAL, ALONE).validate
    for judged in (network, candidate):
        expected, score = evaluate(judged, VAL.images, VAL.labels), validate(judged)
        assert (score.n, score.correct) == (expected.n, expected.correct)
        assert score.loss == pytest.approx(expected.loss, abs=1e-5)
    assert validate(network).loss != pytest.approx(validate(candidate).loss, abs=1e-3)


def test_bfloat16_is_for_training_and_validation_stays_in_float32() -> None:
    phase = tiny_phase("head")
    precise, rough = (
        inputs_of(phase, Surroundings(Compute.model_validate({"precision": precision})))
        for precision in ("float32", "bfloat16")
    )
    difference = float((precise.train - rough.train).abs().max())
    assert 1e-6 < difference < 5e-2 * float(precise.train.abs().max())
    assert precise.validate(tiny_network()) == rough.validate(tiny_network())


def test_a_terminal_is_told_what_is_being_computed() -> None:
    screen = StringIO()
    with Reporter(Console(file=screen, force_terminal=True, width=120)) as reporter:
        inputs_of(tiny_phase("head"), Surroundings(reporter=reporter))
        reporter.say("done")
    assert "tiny: features, once" in screen.getvalue()
