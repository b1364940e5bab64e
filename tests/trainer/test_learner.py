"""Cached features and folded norms are short cuts: they must change no number."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from linnet.preprocess import PreprocessSpec
from tests.trainer.networks import changed, copy_of, quiet, tiny_network, tiny_phase, tiny_split
from trainer.errors import BatchTooSmall, NonFiniteLoss
from trainer.evaluate import evaluate, in_batches, predict_logits, score_logits
from trainer.inputs import Split, Surroundings
from trainer.learner import Learner
from trainer.network import Classifier, build_classifier
from trainer.recipe import Compute, Network

# So small a rate moves nothing that shows, so an epoch's training loss is that of the network as it stood.
STANDSTILL = 1e-30


def settled_network() -> Classifier:
    """Return a network whose norms hold statistics of real images."""
    network = tiny_network()
    with torch.no_grad():
        for _ in range(30):
            network(tiny_split(24).images)
    return network.eval()


def one_epoch(learner: Learner, seed: int = 0) -> tuple[float, float]:
    trained = learner.train_epoch(1, torch.Generator().manual_seed(seed), quiet())
    return trained.train_loss, trained.train_accuracy


@pytest.mark.parametrize("unfreeze", ["head", 1])
def test_cached_features_and_folded_norms_give_the_loss_of_the_whole_network(unfreeze: str | int) -> None:
    """With nothing but the head to train, the backbone may be run once, or folded; never differently."""
    network, train, val = settled_network(), tiny_split(24, seed=1), tiny_split(9, seed=2)
    expected, expected_val = evaluate(network, train.images, train.labels), evaluate(network, val.images, val.labels)
    learner = Learner(network, tiny_phase(unfreeze, batch_size=24, lr=STANDSTILL), train, val)
    assert learner.validate().loss == pytest.approx(expected_val.loss, abs=1e-5)
    assert learner.validate().correct == expected_val.correct
    loss, accuracy = one_epoch(learner)
    assert loss == pytest.approx(expected.loss, abs=1e-5)
    assert accuracy == expected.accuracy


@pytest.mark.parametrize("name", ["cnn_3", "mobilenet_v3_small"])
def test_a_head_phase_without_the_cache_sees_the_features_it_would_have_cached(name: str) -> None:
    """Bit for bit but for folded norms; the dropout in the neck of cnn_3 is frozen like all of the backbone."""
    torch.manual_seed(0)
    spec = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    network = build_classifier(Network(backbone=name, weights="none", dropout=0.0), 3, spec)
    images = torch.randint(0, 256, (24, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    train, val = Split(images, torch.arange(24) % 3), Split(images[:6], torch.arange(6) % 3)
    cached, uncached = (
        Learner(copy.deepcopy(network), tiny_phase("head").model_copy(update={"cache_features": cache}), train, val)
        for cache in (True, False)
    )
    assert uncached.validate().loss == pytest.approx(cached.validate().loss, abs=1e-5)
    for epoch in (1, 2):
        losses = [one_epoch(learner, epoch)[0] for learner in (cached, uncached)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    before = copy_of(network)
    for learner in (cached, uncached):
        assert {name.split(".")[0] for name in changed(before, learner.network)} == {"head"}


def test_a_batch_has_two_images_for_every_part() -> None:
    """A norm in training cannot do with one where the maps are a single pixel."""
    phase = tiny_phase(batch_size=16).model_copy(update={"accumulate": 8})
    with pytest.raises(BatchTooSmall, match="A batch of 12 images cannot be cut for 1 processes times 8 parts of two"):
        Learner(tiny_network(), phase, tiny_split(12), tiny_split(6))


def test_gradients_are_clipped_by_those_that_move() -> None:
    """An earlier phase leaves gradients in what this one freezes; a resumed run does not have them."""
    heads = []
    for stale in (0.0, 1e3):
        network = settled_network()
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, stale)
        phase = tiny_phase("head", name="sgd", momentum=0.0, weight_decay=0.0, clip_norm=0.01)
        learner = Learner(network, phase, tiny_split(24), tiny_split(6))
        one_epoch(learner)
        heads.append(network.head.state_dict()["1.weight"])
    assert torch.equal(*heads)
    assert not torch.equal(heads[0], settled_network().head.state_dict()["1.weight"])


@pytest.mark.parametrize("accumulate", [2, 4, 5])
def test_a_batch_in_parts_is_the_same_batch(accumulate: int) -> None:
    """Dense layers alone: a BatchNorm would see each part by itself."""
    weights = []
    for parts in (1, accumulate):
        learner = Learner(
            tiny_network(), tiny_phase("head", batch_size=11).model_copy(update={"accumulate": parts}), tiny_split(24),
            tiny_split(6),
        )  # fmt: skip
        one_epoch(learner)
        weights.append(learner.network.head.state_dict()["1.weight"])
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
    assert not torch.allclose(weights[0], tiny_network().head.state_dict()["1.weight"], atol=1e-3)


def test_bfloat16_is_used_where_the_recipe_says_so() -> None:
    """Its 8 bits show in the loss; in float32 the loss is that of the network itself."""
    network, train, val = settled_network(), tiny_split(24, seed=1), tiny_split(9, seed=2)
    expected = evaluate(network, train.images, train.labels).loss
    for precision, low, high in (("float32", 0.0, 1e-6), ("auto", 0.0, 1e-6), ("bfloat16", 1e-6, 2e-2)):
        phase = tiny_phase(1, batch_size=24, lr=STANDSTILL)
        learner = Learner(
            settled_network(), phase, train, val, Surroundings(Compute.model_validate({"precision": precision}))
        )
        assert low <= abs(one_epoch(learner)[0] - expected) <= high, precision


def test_training_the_head_on_features_is_training_it_on_images() -> None:
    train, val = tiny_split(24, seed=1), tiny_split(9, seed=2)
    heads = []
    for unfreeze in ("head", 1):
        learner = Learner(settled_network(), tiny_phase(unfreeze), train, val)
        for epoch in (1, 2):
            learner.train_epoch(epoch, torch.Generator().manual_seed(epoch), quiet())
        heads.append(learner.network.head.state_dict()["1.weight"])
    assert torch.allclose(heads[0], heads[1], atol=1e-5)
    assert not torch.allclose(heads[0], settled_network().head.state_dict()["1.weight"], atol=1e-3)


@pytest.mark.parametrize("unfreeze", ["head", "1 blocks", "all"])
def test_an_epoch_is_a_function_of_its_seed(unfreeze: str) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        network = tiny_network()
        one_epoch(Learner(network, tiny_phase(unfreeze), tiny_split(24), tiny_split(6)), seed)
        return network.state_dict()

    assert all(torch.equal(a, b) for a, b in zip(weights(1).values(), weights(1).values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(1).values(), weights(2).values(), strict=True))


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    network = tiny_network()
    before = copy_of(network)
    one_epoch(Learner(network, tiny_phase(batch_size=1000), tiny_split(5), tiny_split(3)))
    assert changed(before, network)


def test_clipping_bounds_the_step() -> None:
    """One step of plain SGD at rate 1 moves by the gradient, whose norm is clipped."""
    network = tiny_network()
    before = copy_of(network)
    phase = tiny_phase(
        "head", batch_size=24, name="sgd", momentum=0.0, lr=1.0, weight_decay=0.0, schedule="constant", clip_norm=1e-3
    )
    one_epoch(Learner(network, phase, tiny_split(24), tiny_split(3)))
    moved = torch.cat([(network.state_dict()[name] - before[name]).flatten() for name in changed(before, network)])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=0.01)


def test_label_smoothing_is_in_the_training_loss_alone() -> None:
    network, split = settled_network(), tiny_split(24)
    learner = Learner(network, tiny_phase("head", batch_size=24, lr=STANDSTILL, label_smoothing=0.2), split, split)
    logits = predict_logits(network, split.images)
    smoothed = float(torch.nn.functional.cross_entropy(logits, split.labels, label_smoothing=0.2))
    assert one_epoch(learner)[0] == pytest.approx(smoothed, abs=1e-5)
    assert learner.validate().loss == pytest.approx(score_logits(logits, split.labels).loss, abs=1e-5)


@pytest.mark.parametrize("unfreeze", ["head", "all"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_loss_that_is_not_finite_moves_nothing(unfreeze: str, ema_decay: float) -> None:
    network, split = tiny_network(), tiny_split(6)
    with torch.no_grad():
        network.head.state_dict()["1.weight"].fill_(math.inf)
    learner = Learner(network, tiny_phase(unfreeze, ema_decay=ema_decay), split, split)
    weights, averaged = copy_of(network), copy_of(learner.candidate)
    with pytest.raises(NonFiniteLoss, match="not finite in phase 'tiny', epoch 3, step 1: lower optim"):
        learner.train_epoch(3, torch.Generator().manual_seed(0), quiet())
    assert not {name for name in changed(weights, network) if "running" not in name and "tracked" not in name}
    if ema_decay:
        assert not changed(averaged, learner.candidate)


def test_scores_count_every_image_once() -> None:
    network, split = settled_network(), tiny_split(600)
    score = evaluate(network, split.images, split.labels)
    with torch.no_grad():
        logits = torch.cat([network(image[None]) for image in split.images[:50]])
    assert torch.allclose(predict_logits(network, split.images)[:50], logits, atol=1e-5)
    assert score.n == 600
    assert score.correct == int((predict_logits(network, split.images).argmax(1) == split.labels).sum())
    assert score.accuracy == score.correct / 600
    assert [len(batch) for batch in in_batches(torch.zeros(7, 2), 3)] == [3, 3, 1]


def test_splits_of_one_image_can_be_scored() -> None:
    one = Split(tiny_split(1).images, tiny_split(1).labels)
    assert evaluate(settled_network(), one.images, one.labels).n == 1


def test_a_schedule_may_outlast_its_phase() -> None:
    """Two epochs of a schedule of six are the first two of a phase of six."""

    def trained(epochs: int, schedule_epochs: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        phase = tiny_phase(epochs=epochs, schedule_epochs=schedule_epochs)
        learner = Learner(tiny_network(), phase, tiny_split(24), tiny_split(6))
        rates = [learner.train_epoch(e, torch.Generator().manual_seed(e), quiet()).lr for e in (1, 2)]
        return rates, learner.network.state_dict()

    rates, weights = trained(2, 6)
    assert rates == trained(6, 0)[0]
    assert rates[-1] > 2 * trained(2, 0)[0][-1]
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), trained(6, 0)[1].values(), strict=True))
