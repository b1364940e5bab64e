"""bfloat16 is used where it was asked for or pays, and a strided depthwise convolution stays out of it on CPUs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.trainer.networks import SPEC, quiet, tiny_phase, tiny_split
from trainer.backbones import AveragePool, Parts
from trainer.evaluate import answer_all
from trainer.inputs import Surroundings, folded
from trainer.learner import Learner
from trainer.network import Classifier
from trainer.precision import keep_strided_depthwise_in_float32, uses_bfloat16
from trainer.recipe import Compute


@pytest.mark.parametrize(("precision", "expected"), [("auto", False), ("float32", False), ("bfloat16", True)])
def test_a_cpu_uses_bfloat16_where_the_recipe_says_so(precision: str, expected: bool) -> None:
    assert uses_bfloat16(Compute.model_validate({"precision": precision}), torch.device("cpu")) is expected


def test_a_strided_depthwise_convolution_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3, stride=2, groups=8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 3, stride=2),
    )
    kept = copy.deepcopy(network)
    keep_strided_depthwise_in_float32(kept)
    assert kept.state_dict().keys() == network.state_dict().keys()
    images = torch.randn(2, 8, 9, 9).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        rounded, precise = network[0](images), kept[0](images)
    exact = network[0](images.float())
    assert precise.dtype == torch.bfloat16
    assert torch.equal(precise, exact.bfloat16())
    assert not torch.equal(rounded, precise)  # its weights were rounded
    for changed, layer in zip(kept[1:], network[1:], strict=True):
        assert type(changed) is type(layer)


def test_a_copy_of_such_a_network_has_weights_of_its_own() -> None:
    """As the moving average of the weights is."""
    layer = nn.Conv2d(4, 4, 3, stride=2, groups=4)
    network = nn.Sequential(layer)
    keep_strided_depthwise_in_float32(network)
    average = copy.deepcopy(network)
    before = average(torch.ones(1, 4, 5, 5))
    with torch.no_grad():
        layer.weight.zero_()
    assert torch.equal(average(torch.ones(1, 4, 5, 5)), before)


def test_a_later_phase_may_freeze_and_fold_it() -> None:
    torch.manual_seed(0)
    blocks = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.ReLU())
    blocks.eval()[1].running_mean = torch.randn(8)
    images = torch.randn(2, 3, 9, 9)
    expected = blocks(images)
    keep_strided_depthwise_in_float32(blocks)
    frozen = folded(blocks)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in frozen.modules())
    assert torch.allclose(frozen(images), expected, atol=1e-5)


def test_a_phase_does_not_depend_on_what_an_earlier_one_trained() -> None:
    """A resumed run has a fresh network, and must end where the uninterrupted one does."""
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.BatchNorm2d(8))
    parts = Parts([nn.Sequential(*convolutions, nn.ReLU())], AveragePool(), 8)
    network = Classifier(parts, nn.Sequential(nn.Linear(8, 3)), SPEC)
    surroundings = Surroundings(Compute(precision="bfloat16"))

    def learn(network: Classifier, unfreeze: str) -> float:
        learner = Learner(network, tiny_phase(unfreeze), tiny_split(24), tiny_split(6), surroundings)
        return learner.train_epoch(1, torch.Generator().manual_seed(0), quiet()).train_loss

    learn(network, "all")
    fresh = copy.deepcopy(network)
    for layer in fresh.modules():
        if isinstance(layer, nn.Conv2d):
            layer.__class__ = nn.Conv2d
    assert learn(network, "head") == learn(fresh, "head")


def test_answers_are_of_float32_on_every_device() -> None:
    seen: list[bool] = []
    network = Classifier(Parts([nn.Identity()], AveragePool(), 3), nn.Sequential(nn.Linear(3, 3)), SPEC)

    def answer(images: torch.Tensor) -> torch.Tensor:
        seen.append(torch.backends.cudnn.allow_tf32)
        return images.float()

    before = torch.backends.cudnn.allow_tf32
    answer_all(network, answer, torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32 == before
