"""Quantisation by measurement: what is chosen is near fp32, and what must not be quantised is found and left alone."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.calibration import divergence
from export.errors import AccuracyLost
from export.graph import trace
from export.half import halve
from export.material import Material
from export.quantise import METHODS, find_ranges, largest_activation, quantisable, quantise
from export.search import Search, answer_logits, float_counts, rank_nodes
from tests.trainer.networks import quiet, tiny_network, tiny_split
from trainer.network import Classifier

LOUD = 1000.0  # times the other channels: leaves 8 bits for none of them


@pytest.fixture(scope="module")
def network() -> Classifier:
    """The tiny network, trained for a moment so that its answers mean something."""
    made, split = tiny_network(), tiny_split(96)
    optimizer = torch.optim.Adam(made.parameters(), lr=2e-2)
    made.train()
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(split.images), split.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return made.eval()


def with_a_loud_channel(network: Classifier) -> Classifier:
    """Return a network that answers alike, but has one channel that drowns the others in 8 bits."""
    loud = tiny_network()
    loud.load_state_dict(network.state_dict())
    norm, convolution = loud.blocks.get_submodule("1.1"), loud.blocks.get_submodule("2.0")
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(convolution, nn.Conv2d)
    with torch.no_grad():
        norm.weight[0] *= LOUD
        norm.bias[0] *= LOUD
        convolution.weight[:, 0] /= LOUD
    return loud.eval()


@pytest.fixture(scope="module")
def core(network: Classifier) -> onnx.ModelProto:
    return trace(network, 8)


@pytest.fixture(scope="module")
def material() -> Material:
    train, val = tiny_split(64, seed=1), tiny_split(60, seed=2)
    return Material(train.images, val.images, val.labels.numpy(), val.images, val.labels.numpy())


def search(core: onnx.ModelProto, material: Material, points: float) -> Search:
    return Search(core, material, answer_logits(core, material.val), points, quiet())


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_nodes_are_named_after_their_layers(core: onnx.ModelProto) -> None:
    assert quantisable(core) == ["blocks.0.0/Conv", "blocks.1.0/Conv", "blocks.2.0/Conv"]
    names = [node.name for node in core.graph.node]
    assert len(set(names)) == len(names)
    assert "head.1/Gemm" in names


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_gives_a_network_near_fp32(core: onnx.ModelProto, material: Material, method: object) -> None:
    (chosen,) = (one for one in METHODS if one is method)
    quantised = quantise(core, find_ranges(core, material.train.numpy(), chosen))
    expected, answered = answer_logits(core, material.val), answer_logits(quantised, material.val)
    assert 0 < divergence(expected, answered) < 0.02
    weights = {item.name: item for item in quantised.graph.initializer}
    int8 = [item for item in weights.values() if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 4]
    assert len(int8) == 3
    assert [weights[item.name.replace("_quantized", "_scale")].dims[0] for item in int8] == [8, 8, 8], "one a channel"
    assert kinds(quantised)["Gemm"] == 1


def test_layers_that_stay_in_float_stay_so(core: onnx.ModelProto, material: Material) -> None:
    ranges = find_ranges(core, material.train.numpy(), METHODS[0])
    kept = quantise(core, ranges, ["blocks.1.0/Conv"])
    weights = {item.name: item for item in kept.graph.initializer}
    assert weights["network.blocks.1.0.weight"].data_type == onnx.TensorProto.FLOAT
    everything = quantise(core, ranges, quantisable(core))
    assert np.array_equal(answer_logits(everything, material.val), answer_logits(core, material.val))
    assert not kinds(everything)["QuantizeLinear"]


def test_a_lonely_float_layer_is_not_quantised_again_when_it_is_loaded(network: Classifier, material: Material) -> None:
    """ONNX Runtime would do that, with one scale for all channels (its transformer WeightBiasQuantization)."""
    uneven = tiny_network()
    uneven.load_state_dict(network.state_dict())
    convolution, norm = uneven.blocks.get_submodule("1.0"), uneven.blocks.get_submodule("1.1")
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():  # channels of very different size, which the norm after it makes even
        sizes = torch.logspace(-4, 0, 8)
        convolution.weight *= sizes[:, None, None, None]
        norm.running_mean *= sizes  # type: ignore[operator]
        norm.running_var *= sizes**2  # type: ignore[operator]
        norm.eps = 0.0
    core = trace(uneven.eval(), 8)
    ranges = find_ranges(core, material.train.numpy(), METHODS[0])
    kept = quantise(core, ranges, ["blocks.1.0/Conv"])
    assert divergence(answer_logits(core, material.val), answer_logits(kept, material.val)) < 0.02


def test_plain_quantisation_that_passes_its_gate_is_left_alone(core: onnx.ModelProto, material: Material) -> None:
    record = search(core, material, 5.0).run().record
    assert record.float_nodes == ()
    assert record.candidates.keys() == {method.name for method in METHODS}
    assert record.calibration == min(record.candidates, key=lambda name: record.candidates[name])
    assert record.images == 64


def test_the_layers_that_must_be_precise_are_found(network: Classifier, material: Material) -> None:
    core = trace(with_a_loud_channel(network), 8)
    ranges = find_ranges(core, material.train.numpy(), METHODS[0])
    plain = answer_logits(quantise(core, ranges), material.val)
    expected = answer_logits(core, material.val)
    assert divergence(expected, plain) > 0.05, "nothing to find"
    ranked = rank_nodes(core, ranges, material.train)
    assert set(ranked[:2]) == {"blocks.1.0/Conv", "blocks.2.0/Conv"}
    helped = answer_logits(quantise(core, ranges, ranked[:2]), material.val)
    assert divergence(expected, helped) < divergence(expected, plain) / 5


@pytest.mark.parametrize(
    ("layers", "counts"),
    [
        (1, [1]),
        (2, [1]),
        (4, [1, 2]),
        (5, [1, 2]),
        (7, [1, 2, 3]),
        (60, [1, 2, 4, 8, 16, 30]),
        (64, [1, 2, 4, 8, 16, 32]),
    ],
)
def test_at_last_half_of_the_layers_are_tried(layers: int, counts: list[int]) -> None:
    assert float_counts(layers) == counts


def test_a_network_that_cannot_be_quantised_is_refused(network: Classifier, material: Material) -> None:
    core = trace(with_a_loud_channel(network), 8)
    impossible = Search(core, material, np.eye(3, dtype=np.float32)[material.val_labels], -100.0, quiet())
    with pytest.raises(AccuracyLost, match="whichever layers are kept in float"):
        impossible.run()


def test_the_largest_number_in_the_backbone_is_found(network: Classifier, material: Material) -> None:
    images, watched, seen = material.val.numpy(), copy.deepcopy(network), []
    largest = largest_activation(trace(network, 8), images)
    for layer in watched.blocks.modules():
        if isinstance(layer, nn.BatchNorm2d):  # which is part of its convolution in the graph
            layer.register_forward_hook(lambda _, __, output: seen.append(float(output.abs().max())))
    with torch.no_grad():
        watched(material.val)
    assert largest == pytest.approx(max(seen), rel=1e-3)
    assert largest_activation(trace(with_a_loud_channel(network), 8), images) > 10 * largest


def test_half_precision_keeps_its_outputs_in_fp32(core: onnx.ModelProto, material: Material) -> None:
    halved = halve(core)
    weights = {item.name: item.data_type for item in halved.graph.initializer}
    assert weights["network.blocks.0.0.weight"] == onnx.TensorProto.FLOAT16
    assert weights["network.head.1.weight"] == onnx.TensorProto.FLOAT
    assert {output.type.tensor_type.elem_type for output in halved.graph.output} == {onnx.TensorProto.FLOAT}
    assert divergence(answer_logits(core, material.val), answer_logits(halved, material.val)) < 1e-4
