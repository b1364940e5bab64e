"""Add to a network's graph what turns its logits into answers: calibrated probabilities and a sign of doubt."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.scores import Score


def with_answers(core: onnx.ModelProto, temperature: float, score: Score | None) -> onnx.ModelProto:
    """Return the graph with the output `probabilities` [N, K] and, with a score, `uncertainty` [N].

    `probabilities` is the softmax of the logits over `temperature`. `core` stays as it is.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core)
    graph = model.graph
    classes = _shape(graph, "logits")
    graph.initializer.append(numpy_helper.from_array(np.array(temperature, np.float32), "temperature"))
    graph.node.append(helper.make_node("Div", ["logits", "temperature"], ["scaled_logits"], "temperature/Div"))
    graph.node.append(helper.make_node("Softmax", ["scaled_logits"], ["probabilities"], "answer/Softmax", axis=1))
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, classes), *graph.output]
    if score is not None:
        graph.node.extend(score.nodes)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in score.constants.items())
        outputs.append(helper.make_tensor_value_info("uncertainty", TensorProto.FLOAT, classes[:1]))
    del graph.output[:]
    graph.output.extend(outputs)
    onnx.checker.check_model(model, full_check=True)
    return model


def _shape(graph: onnx.GraphProto, output: str) -> list[str | int | None]:
    (found,) = (item for item in graph.output if item.name == output)
    return [axis.dim_param or axis.dim_value for axis in found.type.tensor_type.shape.dim]
