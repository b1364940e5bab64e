"""Classes of unequal size can count alike: by weight, or by how often they are drawn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from tests.trainer.networks import quiet, tiny_network, tiny_phase, tiny_split
from trainer.balance import class_weights, even_order
from trainer.evaluate import predict_logits
from trainer.inputs import Split
from trainer.learner import Learner
from trainer.mix import Targets

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 9)


def test_weights_make_every_class_count_alike_and_average_to_one() -> None:
    weights = class_weights(LABELS)
    assert torch.allclose(weights * LABELS.bincount(), torch.tensor(33.0))
    assert float(weights[LABELS].mean()) == pytest.approx(1.0)


def test_an_even_order_has_every_class_equally_often() -> None:
    order = even_order(LABELS, torch.Generator().manual_seed(0))
    assert len(order) == 99
    assert LABELS[order].bincount().tolist() == [33, 33, 33]
    counts = order.bincount(minlength=99)
    assert set(counts[:60].tolist()) == {0, 1}, "of a large class no image comes twice"
    assert set(counts[60:90].tolist()) == {1, 2}
    assert set(counts[90:].tolist()) == {3, 4}, "each image of a small class comes before any comes again"
    first = LABELS[order][:45].bincount(minlength=3)
    assert int(first.min()) > 5, "the classes come mixed"


def test_an_even_order_is_a_function_of_its_seed() -> None:
    first, again, other = (even_order(LABELS, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("labels", "each"), [([0, 1, 1, 1, 1], (2, 3)), ([0, 0, 2, 2], (2, 2))])
def test_an_even_order_of_awkward_counts(labels: list[int], each: tuple[int, int]) -> None:
    """N need not be a multiple of K, and a class may have no image."""
    counts = torch.tensor(labels)[even_order(torch.tensor(labels), torch.Generator().manual_seed(0))].bincount()
    assert sum(counts.tolist()) == len(labels)
    assert all(each[0] <= count <= each[1] for count in counts.tolist() if count)


def test_the_weighted_loss_is_the_mean_of_weighted_losses() -> None:
    logits = torch.randn(99, 3, generator=torch.Generator().manual_seed(0))
    weights = class_weights(LABELS)
    losses = F.cross_entropy(logits, LABELS, reduction="none", label_smoothing=0.1)
    expected = sum(losses[label == LABELS].mean() for label in range(3)) / 3
    assert torch.allclose(Targets(LABELS, weights=weights).loss(logits, 0.1), torch.as_tensor(expected))


def skewed() -> Split:
    """Return 30 images of class 0 and one of each other class."""
    everything = tiny_split(90)
    rows = torch.cat([torch.arange(0, 90, 3), torch.tensor([1, 2])])
    return Split(everything.images[rows], everything.labels[rows])


def recall_of_the_rare(balance: str) -> float:
    network, val = tiny_network(), tiny_split(30, seed=9)
    phase = tiny_phase(epochs=25, batch_size=16, lr=2e-2, balance=balance, schedule="constant")
    learner = Learner(network, phase, skewed(), val)
    for epoch in range(1, 26):
        learner.train_epoch(epoch, torch.Generator().manual_seed(epoch), quiet())
    predicted = predict_logits(network, val.images).argmax(1)
    rare = val.labels > 0
    return float((predicted[rare] == val.labels[rare]).float().mean())


@pytest.mark.parametrize("balance", ["loss", "sampling"])
def test_rare_classes_are_learnt_better_when_they_count_alike(balance: str) -> None:
    assert recall_of_the_rare(balance) > recall_of_the_rare("none")
