"""What decays, how the learning rate runs, and what the average of weights is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from linnet.preprocess import PreprocessSpec
from tests.trainer.networks import copy_of, tiny_network
from trainer.network import build_classifier, set_trainable
from trainer.optimise import Average, build_optimizer, rate_factor, set_rate
from trainer.recipe import Network, Optim


def settings(**keys: Any) -> Optim:
    return Optim.model_validate(keys)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("unfreeze", ["head", "1 blocks", 2, "all"])
def test_every_trainable_weight_is_in_one_group_and_norms_and_biases_do_not_decay(
    name: str, unfreeze: str | int
) -> None:
    network = tiny_network()
    set_trainable(network, unfreeze)
    optimizer = build_optimizer(network, settings(name=name, weight_decay=0.3, lr=0.1, backbone_lr_scale=0.5))
    group_of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(group_of)
    trainable = {key: parameter for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert group_of.keys() == {id(parameter) for parameter in trainable.values()}
    for key, parameter in trainable.items():
        group = group_of[id(parameter)]
        is_kernel = key.endswith(("0.weight", "head.1.weight"))
        assert group["weight_decay"] == (0.3 if is_kernel else 0.0), key
        assert group["peak_lr"] == (0.1 if key.startswith("head") else 0.05), key


@pytest.mark.parametrize("unfreeze", ["2 blocks", "all"])
def test_layer_decay_lowers_the_rate_from_block_to_block(unfreeze: str) -> None:
    network = tiny_network()
    set_trainable(network, unfreeze)
    optimizer = build_optimizer(network, settings(lr=0.1, layer_decay=0.5, backbone_lr_scale=0.4, weight_decay=0.3))
    group_of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    assert len({id(group) for group in group_of.values()}) == len(optimizer.param_groups)
    for key, parameter in network.named_parameters():
        if not parameter.requires_grad:
            assert id(parameter) not in group_of
            continue
        block = int(key.split(".")[1])
        expected = 0.1 if key.startswith("head") else 0.1 * 0.4 * 0.5 ** (3 - block)
        assert group_of[id(parameter)]["peak_lr"] == pytest.approx(expected), key
        assert group_of[id(parameter)]["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)


def test_layer_decay_leaves_the_neck_with_the_head() -> None:
    spec = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    network = build_classifier(Network(backbone="cnn_3", weights="none"), 3, spec)
    optimizer = build_optimizer(network, settings(lr=0.1, layer_decay=0.5))
    rates = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(parameter)] for parameter in network.neck.parameters()} == {0.1}
    assert rates.keys() == {id(parameter) for parameter in network.parameters()}


def test_adam_and_adamw_differ_in_how_they_decay() -> None:
    """From a weight of 2, with no gradient but the decay's, Adam steps by the rate, AdamW by rate * decay * weight."""
    for name, expected in (("adam", 1.0), ("adamw", 1.8)):
        network = tiny_network()
        weight = network.state_dict()["head.1.weight"].fill_(2.0)
        optimizer = build_optimizer(network, settings(name=name, lr=1.0, weight_decay=0.1))
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        assert torch.allclose(weight, torch.tensor(expected), atol=1e-3), name


def test_momentum_is_nesterov_and_may_be_off() -> None:
    with_momentum = build_optimizer(tiny_network(), settings(name="sgd", momentum=0.8)).param_groups[0]
    assert (with_momentum["momentum"], with_momentum["nesterov"]) == (0.8, True)
    assert not build_optimizer(tiny_network(), settings(name="sgd", momentum=0.0)).param_groups[0]["nesterov"]


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        ("cosine", {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 0.4: 0.5 * (1 + math.sqrt(0.5)), 1.0: 0.0}),
        ("one-cycle", {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 0.4: 0.75, 1.0: 0.0}),
        ("constant", {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 1.0, 1.0: 1.0}),
    ],
)
def test_a_schedule_at_its_key_points(schedule: str, points: dict[float, float]) -> None:
    optim = settings(schedule=schedule, warmup=0.2)
    assert {at: rate_factor(optim, at) for at in points} == pytest.approx(points, abs=1e-12)


@pytest.mark.parametrize(("schedule", "start"), [("cosine", 1.0), ("one-cycle", 1.0), ("constant", 1.0)])
def test_without_warm_up_a_schedule_starts_at_the_peak(schedule: str, start: float) -> None:
    assert rate_factor(settings(schedule=schedule, warmup=0.0), 0.0) == start


def test_the_rate_of_a_step_is_that_of_its_middle_for_each_group() -> None:
    optim = settings(lr=0.1, backbone_lr_scale=0.5, schedule="one-cycle", warmup=0.0)
    optimizer = build_optimizer(tiny_network(), optim)
    assert set_rate(optimizer, optim, step=1, steps=4) == pytest.approx(0.1 * (1 - 1.5 / 4))
    assert {round(group["lr"] / group["peak_lr"], 9) for group in optimizer.param_groups} == {1 - 1.5 / 4}


def test_an_average_follows_its_formula() -> None:
    """decay = min(0.5, step / (step + 10)): quick at first, then as told."""
    network = tiny_network()
    live = network.state_dict()
    weight, count = live["head.1.weight"], live["blocks.0.1.num_batches_tracked"]
    average = Average(network, 0.5)
    expected = weight.double().clone()
    for step in range(1, 31):
        weight.add_(0.1 * step)
        count.add_(1)
        average.update(network)
        decay = min(0.5, step / (step + 10))
        expected = decay * expected + (1 - decay) * weight.double()
        assert torch.allclose(average.network.state_dict()["head.1.weight"].double(), expected, rtol=1e-5)
    assert average.network.state_dict()["blocks.0.1.num_batches_tracked"] == 30, "counts are copied, not averaged"


def test_an_average_leaves_the_network_alone_and_continues_where_it_stood() -> None:
    network, other = tiny_network(0), tiny_network(1)
    average = Average(network, 0.9)
    before = copy_of(network)
    for _ in range(3):
        average.update(other)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    state = average.state()
    restored = Average(network, 0.9)
    restored.restore({**state, "network": copy_of(average.network)})
    average.update(network)
    restored.update(network)
    assert all(
        torch.equal(here, there)
        for here, there in zip(
            average.network.state_dict().values(), restored.network.state_dict().values(), strict=True
        )
    )
