"""What rounded weights add to every result is measured, and taken from the biases where the weights are rounded."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization.calibrate import TensorsData
from torch import nn
from torch.nn import functional

from export.calibration import divergence
from export.drift import find_drifts
from export.graph import trace
from export.quantise import METHODS, find_ranges, quantisable, quantise
from export.search import answer_logits
from tests.trainer.networks import tiny_network, tiny_split
from trainer.network import Classifier

FIRST = "blocks.0.0/Conv"
IMAGES = tiny_split(50, seed=1).images  # more than one batch, and not a whole number of them


@pytest.fixture(scope="module")
def network() -> Classifier:
    """A network with strong weights that cancel out, as those of edge detectors do, and leave few steps to the rest."""
    made = tiny_network().eval()
    with torch.no_grad():
        for index in ("1.0", "2.0"):
            convolution = made.blocks.get_submodule(index)
            assert isinstance(convolution, nn.Conv2d)
            convolution.weight[:, 0, 1, 0] += 10
            convolution.weight[:, 0, 1, 1] -= 20
            convolution.weight[:, 0, 1, 2] += 10
    return made


@pytest.fixture(scope="module")
def core(network: Classifier) -> onnx.ModelProto:
    return trace(network, 8)


@pytest.fixture(scope="module")
def ranges(core: onnx.ModelProto) -> TensorsData:
    return find_ranges(core, IMAGES.numpy(), METHODS[0])


def test_a_drift_is_the_mean_error_of_a_channel(
    network: Classifier, core: onnx.ModelProto, ranges: TensorsData
) -> None:
    quantised = quantise(core, ranges)
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in quantised.graph.initializer}
    steps, scale = (constants[f"network.blocks.0.0.weight_{part}"] for part in ("quantized", "scale"))
    exact = next(item for item in core.graph.initializer if item.name == "network.blocks.0.0.weight")
    error = torch.from_numpy(steps * scale[:, None, None, None] - onnx.numpy_helper.to_array(exact))
    normalised = IMAGES.permute(0, 3, 1, 2).float() * network.scale[:, None, None] + network.offset[:, None, None]
    expected = functional.conv2d(normalised, error, padding=1).mean((0, 2, 3))
    found = find_drifts(core, quantised, IMAGES.numpy())
    assert found.keys() == set(quantisable(core))
    assert np.abs(expected.numpy()).max() > 1e-5, "nothing to find"
    assert found[FIRST] == pytest.approx(expected.numpy(), abs=1e-6)


def test_answers_come_nearer_to_those_of_fp32(core: onnx.ModelProto, ranges: TensorsData) -> None:
    expected, plain = answer_logits(core, IMAGES), answer_logits(quantise(core, ranges), IMAGES)
    drifts = find_drifts(core, quantise(core, ranges), IMAGES.numpy())
    corrected = answer_logits(quantise(core, ranges, drifts=drifts), IMAGES)
    assert divergence(expected, corrected) < 0.6 * divergence(expected, plain)


def test_a_layer_that_stays_in_float_keeps_its_bias(core: onnx.ModelProto, ranges: TensorsData) -> None:
    drifts = find_drifts(core, quantise(core, ranges), IMAGES.numpy())
    kept = quantise(core, ranges, quantisable(core), drifts)
    assert np.array_equal(answer_logits(kept, IMAGES), answer_logits(core, IMAGES))


def test_without_rounded_weights_nothing_drifts(core: onnx.ModelProto) -> None:
    assert find_drifts(core, core, IMAGES.numpy()) == {}
