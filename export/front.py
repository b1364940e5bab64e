"""The beginning of a graph: what `export.graph` writes between the image and the result of the first convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_BEGINNING = ["Transpose", "Cast", "Mul", "Add", "Conv"]
_ACTIVATIONS = ("Relu", "Clip")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Front:
    """The nodes from the image to the result of the first convolution, and what they do."""

    nodes: Sequence[onnx.NodeProto]  # as in `_BEGINNING`, and maybe an activation
    size: tuple[int, int, int]  # of the image: H, W, C
    scale: Floats  # [C]
    offset: Floats  # [C]
    weight: Floats  # [M, C, kh, kw]
    bias: Floats  # [M]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right

    @property
    def convolution(self) -> onnx.NodeProto:
        """Return the first convolution."""
        return self.nodes[len(_BEGINNING) - 1]

    @property
    def last(self) -> onnx.NodeProto:
        """Return what makes the result: the activation, or else the convolution."""
        return self.nodes[-1]

    @cached_property
    def frame(self) -> Floats:  # [C]
        """Return the pixel that is normalised to zero."""
        return np.round(-self.offset / self.scale)

    @cached_property
    def result(self) -> tuple[int, int]:
        """Return height and width of the convolution's result."""
        height, width = (
            (self.size[axis] + self.pads[axis] + self.pads[axis + 2] - self.weight.shape[axis + 2])
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        )
        return height, width


def find_front(graph: onnx.GraphProto) -> Front | None:
    """Read the beginning of a graph, or return None where it is not one that can be rebuilt."""
    nodes = _chain(graph)
    if [node.op_type for node in nodes[: len(_BEGINNING)]] != _BEGINNING:
        return None
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    scaling, shifting, convolution = nodes[2:5]
    options = {item.name: helper.get_attribute_value(item) for item in convolution.attribute}
    if not constants.keys() >= {scaling.input[1], shifting.input[1], *convolution.input[1:]}:
        return None
    weight = constants[convolution.input[1]]
    if weight.ndim != 4 or options.get("group", 1) != 1 or set(options.get("dilations", [1])) != {1}:
        return None
    height, width, channels = (axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[1:])
    front = Front(
        nodes=nodes,
        size=(height, width, channels),
        scale=constants[scaling.input[1]].reshape(-1),
        offset=constants[shifting.input[1]].reshape(-1),
        weight=weight,
        bias=constants[convolution.input[2]] if len(convolution.input) > 2 else np.zeros(len(weight), np.float32),
        strides=options.get("strides", (1, 1)),
        pads=options.get("pads", (0, 0, 0, 0)),
    )
    return front if front.frame.min() >= 0 and front.frame.max() <= 255 else None  # 8 bits hold its frame


def _chain(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Follow the image as long as one node alone reads it, to the first convolution and the activation after it.

    That others ask for its shape does no harm.
    """
    chain: list[onnx.NodeProto] = []
    name = graph.input[0].name
    while len(chain) <= len(_BEGINNING):
        readers = [node for node in graph.node if name in node.input and (chain or node.op_type != "Shape")]
        if len(readers) != 1 or (len(chain) == len(_BEGINNING) and readers[0].op_type not in _ACTIVATIONS):
            break
        chain += readers
        name = readers[0].output[0]
    return chain
