"""Add to a network's graph what turns its logits into answers: calibrated probabilities and a sign of doubt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.calibration import BLUNTEST, SHARPEST
from export.scores import Score
from linnet.manifest import Calibration

AS_TRAINED = Calibration(temperature=1.0)


def with_answers(core: onnx.ModelProto, calibration: Calibration, score: Score | None) -> onnx.ModelProto:
    """Return the graph with the output `probabilities` [N, K] and, with a score, `uncertainty` [N].

    `probabilities` is the softmax of the logits as `export.calibration.sharpened` makes them. `core` stays as it is.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    graph = model.graph
    classes = _shape(graph, "logits")
    _sharpen(graph, calibration)
    graph.node.append(helper.make_node("Softmax", ["sharpened"], ["probabilities"], "answer/Softmax", axis=1))
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, classes), *graph.output]
    if score is not None:
        graph.node.extend(score.nodes)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in score.constants.items())
        outputs.append(helper.make_tensor_value_info("uncertainty", TensorProto.FLOAT, classes[:1]))
    del graph.output[:]
    graph.output.extend(outputs)
    onnx.checker.check_model(model, full_check=True)
    return model


def _sharpen(graph: onnx.GraphProto, calibration: Calibration) -> None:
    """Add what makes `sharpened` [N, K] of `logits`: the same arithmetic as `export.calibration.sharpened`."""
    if calibration.slope == 0:
        _add_constants(graph, temperature=np.float32(calibration.temperature))
        graph.node.append(helper.make_node("Div", ["logits", "temperature"], ["sharpened"], "calibration/Div"))
        return
    _add_constants(
        graph,
        first_two=np.array([2]),
        lead=np.array([[1], [-1]], np.float32),
        slope=np.float32(calibration.slope),
        start=np.float32(-np.log(calibration.temperature)),
        least=np.float32(-np.log(BLUNTEST)),
        most=np.float32(-np.log(SHARPEST)),
    )
    steps = [
        ("TopK", ["logits", "first_two"], ["two", "two_classes"]),
        ("MatMul", ["two", "lead"], ["margin"]),
        ("Mul", ["margin", "slope"], ["raised"]),
        ("Add", ["raised", "start"], ["exponent"]),
        ("Clip", ["exponent", "least", "most"], ["bounded"]),
        ("Exp", ["bounded"], ["factor"]),
        ("Mul", ["logits", "factor"], ["sharpened"]),
    ]
    graph.node.extend(helper.make_node(kind, taken, made, f"calibration/{made[0]}") for kind, taken, made in steps)


def _add_constants(graph: onnx.GraphProto, **constants: np.generic | npt.NDArray[np.generic]) -> None:
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())


def _shape(graph: onnx.GraphProto, output: str) -> list[str | int | None]:
    (found,) = (item for item in graph.output if item.name == output)
    return [axis.dim_param or axis.dim_value for axis in found.type.tensor_type.shape.dim]
