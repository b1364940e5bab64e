"""From a float graph to one of 8-bit integers, by ONNX Runtime's own tools.

Static quantisation in QDQ form: weights int8 with a scale per channel, activations uint8 with a scale per tensor, whose
ranges come from training images. uint8 x int8 is the form that VNNI computes in one instruction; on x86 CPUs without it
sums may saturate, which the bundle's self-test finds (weights of 7 bits would not saturate, but lose accuracy
everywhere). Neck and head stay in float: they take no time and decide much.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from export.drift import Drifts
from export.graph import BACKBONE_PREFIX
from export.pixels import settle_ranges, take_pixels

WEIGHTED = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("Relu", "Clip")  # quantised as part of what they follow
BETWEEN = ("Add", "Mul", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", *ACTIVATIONS)
_BATCH = 16  # images whose activations, all of them, are held at once


@dataclass(frozen=True)
class Method:
    """A way to choose the range of an activation from what it was on training images."""

    name: str
    kind: CalibrationMethod
    options: dict[str, Any] = field(default_factory=dict)


METHODS = (
    Method("min-max", CalibrationMethod.MinMax),
    Method("percentile 99.99", CalibrationMethod.Percentile, {"percentile": 99.99}),
    Method("entropy", CalibrationMethod.Entropy),
)


def quantisable(core: onnx.ModelProto) -> list[str]:
    """Name the nodes of the backbone that can be quantised and do the work, in order."""
    return [
        node.name
        for node in core.graph.node
        if node.name.startswith(BACKBONE_PREFIX) and node.op_type in (*WEIGHTED, *BETWEEN)
        if node.op_type not in ACTIVATIONS
    ]


def find_ranges(core: onnx.ModelProto, images: npt.NDArray[np.uint8], method: Method) -> TensorsData:
    """Return the range of every activation of the float graph over images uint8 [N, H, W, 3]."""
    ranges = _observe(core, images, method, [*WEIGHTED, *BETWEEN])
    settle_ranges(core.graph, ranges)
    return ranges


def largest_activation(core: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> float:
    """Return the largest size of a number in the backbone of the float graph over images uint8 [N, H, W, 3]."""
    results = {name for node in core.graph.node if node.name.startswith(BACKBONE_PREFIX) for name in node.output}
    ranges = _observe(core, images, METHODS[0], [])
    return max(float(np.abs(ranges[name].range_value).max()) for name in results & ranges.data.keys())


def _observe(
    core: onnx.ModelProto, images: npt.NDArray[np.uint8], method: Method, op_types: Sequence[str]
) -> TensorsData:
    """Return the range of what nodes of such types read and write; of all nodes where no type is named."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        source = Path(scratch) / "core.onnx"
        onnx.save(core, source)
        calibrator = create_calibrator(
            source,
            op_types,
            augmented_model_path=str(Path(scratch) / "observed.onnx"),
            calibrate_method=method.kind,
            extra_options={"symmetric": False, **method.options},
        )
        for start in range(0, len(images), _BATCH):
            calibrator.collect_data(_Batch(images[start : start + _BATCH]))
        return calibrator.compute_data()


def quantise(
    core: onnx.ModelProto,
    ranges: TensorsData,
    float_nodes: Collection[str] = (),
    drifts: Drifts | None = None,
) -> onnx.ModelProto:
    """Return the quantised graph; `core` stays as it is, and so do `float_nodes` with the activations after them.

    `drifts` are taken from the biases of the convolutions that are quantised.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    kept = _with_activations(model.graph, float_nodes)
    _take_drifts({name: drift for name, drift in (drifts or {}).items() if name not in kept}, model.graph)
    excluded = [
        node.name for node in model.graph.node if not node.name.startswith(BACKBONE_PREFIX) or node.name in kept
    ]
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],  # all but the excluded ones
        nodes_to_exclude=excluded,
        op_types_to_quantize=[*WEIGHTED, *BETWEEN],
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()  # what was added stands at the end
    quantised: onnx.ModelProto = quantizer.model.model
    take_pixels(quantised)
    return quantised


def _take_drifts(drifts: Drifts, graph: onnx.GraphProto) -> None:
    """Take drifts from biases; each convolution gets one of its own, for equal ones were written once."""
    constants = {item.name: item for item in graph.initializer}
    for node in graph.node:
        if node.name in drifts:
            bias = numpy_helper.to_array(constants[node.input[2]]) if len(node.input) > 2 else np.float32(0)
            own = numpy_helper.from_array(np.asarray(bias - drifts[node.name]), f"{node.name}/bias")
            graph.initializer.append(own)
            del node.input[2:]
            node.input.append(own.name)
    read = {name for node in graph.node for name in node.input}
    for item in constants.values():
        if item.name not in read:
            graph.initializer.remove(item)


def _with_activations(graph: onnx.GraphProto, names: Collection[str]) -> set[str]:
    """Add to the nodes the activations that take their results."""
    results = {name for node in graph.node if node.name in names for name in node.output}
    return {*names, *(n.name for n in graph.node if n.op_type in ACTIVATIONS and n.input[0] in results)}


class _Batch(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """One batch of images, as the calibrator asks for it."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._batches: Iterator[dict[str, npt.NDArray[np.uint8]]] = iter([{"image": images}])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """Return the batch, and nothing after it."""
        return next(self._batches, None)
