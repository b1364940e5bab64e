"""Let the first convolution of a graph that will be quantised read the image as it is: the pixels are 8 bits already.

In float the image is turned to planes, cast and normalised, and the first convolution, with its three channels, is one
that the fast 8-bit kernels of ONNX Runtime refuse: they take channels by fours. Three things lead around that.

- Scale and offset go into the weights and the bias. Then 8 bits hold the input without any rounding.
- What was padded with zeros is framed by the pixel that is normalised to zero, to the nearest of 256 values.
- A row of pixels is read in words of four bytes, wherever a pixel begins. One position of the convolution so makes G
  neighbouring outputs, as further channels, and laying them side by side moves no memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization.calibrate import TensorData, TensorsData

from export.front import Floats, Front, find_front

PIXELS = "pixels"  # float32 [N, 4, H, P], to be quantised with scale 1 and zero point 0

_WORD = 4  # bytes, and so channels
_OWN = "pixels/"  # of the names of nodes that are added
_RESULT = f"{_OWN}result"  # [N, OH, positions, G * M]


class _Layout:
    """How the rows of an image are read in words of four bytes."""

    def __init__(self, front: Front) -> None:
        channels, stride, kernel = front.size[2], front.strides[1], front.weight.shape[3]
        self.outputs = _WORD // math.gcd(_WORD, stride * channels)  # G: neighbours that one position makes
        self.step = self.outputs * stride * channels // _WORD  # words from one position to the next
        self.window = math.ceil(((self.outputs - 1) * stride + kernel) * channels / _WORD)  # words that one reads
        positions = math.ceil(front.result[1] / self.outputs)
        needed = math.ceil(((positions - 1) * self.step + self.window) * _WORD / channels)
        whole = _WORD // math.gcd(_WORD, channels)  # pixels that fill words
        self.columns = math.ceil(max(needed, front.pads[1] + front.size[1]) / whole) * whole  # of a framed row
        self.words = self.columns * channels // _WORD
        self.positions = (self.words - self.window) // self.step + 1  # those that complete the row are cut off


@dataclass(frozen=True)
class _Piece:
    """Nodes that are to be put into a graph, and their constants."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)

    def add(self, kind: str, inputs: Sequence[str | npt.NDArray[np.generic]], output: str, **options: Any) -> str:
        """Append a node, whose name is that of its output, and return that output."""
        names = []
        for index, given in enumerate(inputs):
            if not isinstance(given, str):
                self.constants[f"{output}/{index}"] = given
            names.append(given if isinstance(given, str) else f"{output}/{index}")
        self.nodes.append(helper.make_node(kind, names, [output], output, **options))
        return output


def read_pixels(core: onnx.ModelProto) -> onnx.ModelProto:
    """Return the float graph with a first convolution that reads bytes; the very graph where it begins otherwise.

    The answers differ by what the rounding of the frame makes of them.
    """
    front = find_front(core.graph)
    if front is None:
        return core
    model = onnx.ModelProto()
    model.CopyFrom(core)
    graph = model.graph
    piece = _build(front, _Layout(front))
    rest = [node for node in graph.node if node.name not in {node.name for node in front.nodes}]
    del graph.node[:]
    graph.node.extend([*piece.nodes, *rest])
    read = {name for node in graph.node for name in node.input}
    kept = [item for item in graph.initializer if item.name in read and item.name not in piece.constants]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in piece.constants.items())
    del graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred


def settle_ranges(graph: onnx.GraphProto, ranges: TensorsData) -> None:
    """Give the input of a graph of `read_pixels` the range of bytes, and its result one range however it lies."""
    if PIXELS in ranges.data:
        ranges[PIXELS] = TensorData(lowest=np.float32(0), highest=np.float32(255))
    readers = {node.input[0]: node for node in graph.node if node.name.startswith(_OWN)}
    for before in (name for name, node in readers.items() if node.name == _RESULT):
        after = before
        while after in readers:
            after = readers[after].output[0]
        if after in ranges.data:
            ranges[before] = ranges[after]


def take_pixels(quantised: onnx.ModelProto) -> None:
    """Let the quantised graph of `read_pixels` take the bytes without the way through float, in place."""
    graph = quantised.graph
    cast = next((node for node in graph.node if PIXELS in node.output), None)
    readers = [node for node in graph.node if PIXELS in node.input]
    if cast is None or [node.op_type for node in readers] != ["QuantizeLinear"]:
        return  # another beginning, or a first convolution that stays in float
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == readers[0].output[0]:
                node.input[index] = cast.input[0]
    graph.node.remove(cast)
    graph.node.remove(readers[0])


def _build(front: Front, layout: _Layout) -> _Piece:
    """Write the nodes from the image to the result that the first convolution, or its activation, had."""
    piece = _Piece()
    (height, width), made = front.result, len(front.weight)
    rows = (height - 1) * front.strides[0] + front.weight.shape[2]
    framed = _add_frame(piece, front, rows, layout.columns)
    words = piece.add("Reshape", [framed, np.array([0, rows, layout.words, _WORD])], f"{_OWN}words")
    planes = piece.add("Transpose", [words], f"{_OWN}planes", perm=[0, 3, 1, 2])
    piece.add("Cast", [planes], PIXELS, to=onnx.TensorProto.FLOAT)
    bias = front.bias + (front.weight * front.offset[:, None, None]).sum((1, 2, 3))
    result = piece.add(
        "Conv",
        [PIXELS, _spread(front, layout), np.tile(bias, layout.outputs).astype(np.float32)],
        front.convolution.name,
        strides=[front.strides[0], layout.step],
    )
    if front.last is not front.convolution:
        result = piece.add(front.last.op_type, [result, *front.last.input[1:]], front.last.name)
    if layout.outputs == 1 and layout.positions == width:
        piece.nodes[-1].output[0] = front.last.output[0]
        return piece
    beside = piece.add("Transpose", [result], _RESULT, perm=[0, 2, 3, 1])
    laid = piece.add("Reshape", [beside, np.array([0, height, layout.positions * layout.outputs, made])], f"{_OWN}laid")
    if layout.positions * layout.outputs > width:
        laid = piece.add("Slice", [laid, np.array([0]), np.array([width]), np.array([2])], f"{_OWN}cut")
    piece.add("Transpose", [laid], f"{_OWN}maps", perm=[0, 3, 1, 2])
    piece.nodes[-1].output[0] = front.last.output[0]
    return piece


def _add_frame(piece: _Piece, front: Front, rows: int, columns: int) -> str:
    """Lay pixels around the image, as far as the convolution reads; what it does not read is cut off or anything."""
    (height, width, channels), (top, left, _, _) = front.size, front.pads
    bottom, right = rows - top - height, columns - left - width
    name: str = front.nodes[0].input[0]
    if bottom < 0:
        name = piece.add("Slice", [name, np.array([0]), np.array([rows - top]), np.array([1])], f"{_OWN}above")
    colour = front.frame.astype(np.uint8)
    if len(set(colour)) == 1:
        amounts = np.array([0, top, left, 0, 0, max(bottom, 0), right, 0])
        return piece.add("Pad", [name, amounts, colour[:1].reshape(())], f"{_OWN}framed") if amounts.any() else name
    count = piece.add("Shape", [name], f"{_OWN}count", start=0, end=1)
    for axis, before, after, across in ((2, left, right, min(height, rows - top)), (1, top, max(bottom, 0), columns)):
        parts = [name]
        for side, amount in enumerate((before, after)):
            if amount:
                shape = (across, amount) if axis == 2 else (amount, across)
                strip = np.broadcast_to(colour, (1, *shape, channels)).copy()
                whole = piece.add("Concat", [count, np.array(strip.shape[1:])], f"{_OWN}shape_{axis}{side}", axis=0)
                parts.insert(side * len(parts), piece.add("Expand", [strip, whole], f"{_OWN}strip_{axis}{side}"))
        if len(parts) > 1:
            name = piece.add("Concat", parts, f"{_OWN}framed_{axis}", axis=axis)
    return name


def _spread(front: Front, layout: _Layout) -> Floats:  # [G * M, 4, kh, words]
    """Return the weights, scaled, that make G neighbouring outputs of a window of bytes."""
    made, channels, height, kernel = front.weight.shape
    by_byte = (front.weight * front.scale[:, None, None]).transpose(0, 2, 3, 1).reshape(made, height, kernel * channels)
    spread = np.zeros((layout.outputs, made, height, layout.window * _WORD), np.float32)
    for output in range(layout.outputs):
        start = output * front.strides[1] * channels
        spread[output, :, :, start : start + kernel * channels] = by_byte
    return np.ascontiguousarray(spread.reshape(-1, height, layout.window, _WORD).transpose(0, 3, 1, 2))
