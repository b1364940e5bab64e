"""A graph that reads pixels as bytes answers as the one that normalises them in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.calibration import divergence
from export.drift import find_drifts
from export.graph import trace
from export.pixels import PIXELS, read_pixels
from export.quantise import METHODS, find_ranges, quantise
from export.search import answer_logits
from linnet.session import DISABLED_OPTIMISERS
from tests.trainer.networks import tiny_network, tiny_split

GREY = (127 / 255,) * 3
COLOURS = (124 / 255, 116 / 255, 103 / 255)
ONE_STD, STDS = (0.5, 0.5, 0.5), (0.229, 0.224, 0.225)
IMAGES = tiny_split(40, seed=1).images


class Geometry(NamedTuple):
    """Of an image and of the convolution that reads it."""

    size: tuple[int, int] = (16, 16)
    kernel: tuple[int, int] = (3, 3)
    stride: int = 2
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)


PLAIN = Geometry()
Images = npt.NDArray[np.uint8]  # [N, H, W, 3]


def beginning(
    geometry: Geometry = PLAIN, mean: Sequence[float] = GREY, std: Sequence[float] = ONE_STD, **options: Any
) -> onnx.ModelProto:
    """Return a graph as `export.graph` writes it, as far as the first activation."""
    chance = np.random.default_rng(0)
    constants = {
        "scale": 1 / 255 / np.array(std).reshape(3, 1, 1),
        "offset": -(np.array(mean) / np.array(std)).reshape(3, 1, 1),
        "weight": chance.normal(size=(9, 3 // options.get("group", 1), *geometry.kernel)),
        "bias": chance.normal(size=9),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], "Transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["cast"], "Cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"], "Mul"),
        helper.make_node("Add", ["scaled", "offset"], ["normalised"], "Add"),
        helper.make_node("Conv", ["normalised", "weight", "bias"], ["result"], "blocks.0/Conv",
                         strides=[geometry.stride] * 2, pads=geometry.pads, **options),
        helper.make_node("Relu", ["result"], ["active"], "blocks.0/Relu"),
        helper.make_node("ReduceMean", ["active"], ["mean"], "neck/ReduceMean"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "beginning",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *geometry.size, 3])],
        [helper.make_tensor_value_info("active", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, images: Images) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["active"], {"image": images})[0])


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry((97, 97)),  # MobileNet
        Geometry((32, 32)),
        Geometry((8, 8), stride=1),  # VGG
        Geometry((33, 30), (7, 7), pads=(3, 3, 3, 3)),  # ResNet
        Geometry((20, 23), pads=(0, 0, 0, 0)),  # Inception
        Geometry((16, 16), (4, 4), 4, (0, 0, 0, 0)),  # ConvNeXt
        Geometry((50, 49), (16, 16), 16, (0, 0, 0, 0)),  # ViT, with rows and columns that are left out
        Geometry((9, 10), (5, 2), 3, (2, 0, 1, 1)),
        Geometry((6, 6), (1, 1), 1, (0, 0, 0, 0)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("mean", "std"), [(GREY, ONE_STD), (COLOURS, STDS)], ids=["grey", "coloured"])
def test_the_first_convolution_gives_the_same_result(
    geometry: Geometry, mean: Sequence[float], std: Sequence[float]
) -> None:
    model = beginning(geometry, mean, std)
    reading = read_pixels(model)
    convolution = next(node for node in reading.graph.node if node.op_type == "Conv")
    weight = next(item for item in reading.graph.initializer if item.name == convolution.input[1])
    assert convolution.input[0] == PIXELS
    assert weight.dims[1] == 4
    for count in (1, 3):
        images = np.random.default_rng(count).integers(0, 256, (count, *geometry.size, 3), dtype=np.uint8)
        assert np.allclose(run(reading, images), run(model, images), atol=1e-3)


def test_the_frame_is_as_near_to_zero_as_a_byte_can_be() -> None:
    model = beginning(Geometry((8, 8), stride=1), mean=(0.5, 0.5, 0.5))  # between 127 and 128
    images = np.zeros((1, 8, 8, 3), np.uint8)
    weight = next(item for item in model.graph.initializer if item.name == "weight")
    reach = np.abs(numpy_helper.to_array(weight)).sum((1, 2, 3)).max() / 255  # half a step by half a deviation
    difference = np.abs(run(read_pixels(model), images) - run(model, images))
    assert 0 < difference.max() < reach
    assert difference[:, :, 1:-1, 1:-1].max() < 1e-4


@pytest.mark.parametrize("options", [{"dilations": [2, 2]}, {"group": 3}, {"mean": (-0.1, 0.5, 0.5)}], ids=str)
def test_another_beginning_stays_as_it_is(options: dict[str, Any]) -> None:
    model = beginning(**options)
    assert read_pixels(model) is model


def test_a_weight_that_is_computed_stays_as_it_is() -> None:
    """As in networks that standardise their weights."""
    model = beginning()
    (weight,) = (item for item in model.graph.initializer if item.name == "weight")
    weight.name = "raw"
    model.graph.node.insert(0, helper.make_node("Identity", ["raw"], ["weight"], "Standardise"))
    assert read_pixels(model) is model


def test_an_image_that_others_read_too_stays_as_it_is() -> None:
    model = beginning()
    model.graph.node.append(helper.make_node("ReduceMax", ["normalised"], ["brightest"], "ReduceMax"))
    assert read_pixels(model) is model


def test_who_asks_for_the_number_of_images_is_no_reader() -> None:
    model = beginning()
    model.graph.node.insert(0, helper.make_node("Shape", ["image"], ["shape"], "Shape", start=0, end=1))
    assert read_pixels(model) is not model


def test_a_quantised_graph_reads_bytes_without_a_way_through_float(tmp_path: Path) -> None:
    core = trace(tiny_network().eval(), 8)
    reading = read_pixels(core)
    ranges = find_ranges(reading, IMAGES.numpy(), METHODS[2])
    quantised = quantise(reading, ranges, drifts=find_drifts(reading, quantise(reading, ranges), IMAGES.numpy()))
    assert not {"Cast", "Mul"} & {node.op_type for node in quantised.graph.node}
    expected = answer_logits(core, IMAGES)
    assert divergence(expected, answer_logits(quantised, IMAGES)) < 1e-3
    assert np.allclose(answer_logits(quantised, IMAGES[:1]), answer_logits(quantised, IMAGES)[:1], atol=1e-5)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        quantised.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=list(DISABLED_OPTIMISERS)
    )
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearConv"] == 3
    assert not kinds["QuantizeLinear"], "something between the convolutions is computed in float"


def test_a_first_layer_in_float_is_answered_too() -> None:
    core = trace(tiny_network().eval(), 8)
    reading = read_pixels(core)
    kept = quantise(reading, find_ranges(reading, IMAGES.numpy(), METHODS[0]), ["blocks.0.0/Conv"])
    assert PIXELS in {name for node in kept.graph.node for name in node.input}
    assert divergence(answer_logits(core, IMAGES), answer_logits(kept, IMAGES)) < 1e-3
