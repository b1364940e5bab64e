"""By how much the results of a layer shift on average when its weights are rounded to 8 bits.

A rounded weight is a little too large or too small, and what it is multiplied with is seldom zero on average: after
ReLU it never is. So the errors do not cancel out, and a channel ends up beside its place. Filters with strong weights
that nearly cancel, as the first ones of a MobileNet, suffer most. What is the same for every image can be taken from
the bias (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2; here
the means are measured, as in their appendix).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Drifts = dict[str, npt.NDArray[np.float32]]  # [M] by the name of a convolution

_BATCH = 16


def find_drifts(core: onnx.ModelProto, quantised: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> Drifts:
    """Return the mean error of every channel of the quantised convolutions over images uint8 [N, H, W, 3].

    `core` is the float graph, whose values the rounded weights are applied to.
    """
    import onnxruntime as ort

    model = onnx.ModelProto()
    model.CopyFrom(core)
    graph = model.graph
    del graph.output[:]
    weights = {item.name: item for item in graph.initializer}
    rounded = _rounded_weights(quantised.graph)
    measured = [node for node in graph.node if node.name in rounded]
    for node in measured:
        exact = numpy_helper.to_array(weights[node.input[1]])
        error = numpy_helper.from_array(rounded[node.name] - exact, f"{node.name}/error")
        axes = numpy_helper.from_array(np.array([0, *range(2, exact.ndim)]), f"{node.name}/axes")
        graph.initializer.extend([error, axes])
        stray = onnx.NodeProto()
        stray.CopyFrom(node)
        stray.name = f"{node.name}/stray"
        del stray.input[1:], stray.output[:]
        stray.input.append(error.name)
        stray.output.append(stray.name)
        drift = helper.make_node("ReduceMean", [stray.name, axes.name], [f"{node.name}/drift"], keepdims=0)
        graph.node.extend([stray, drift])
        graph.output.append(helper.make_tensor_value_info(drift.output[0], TensorProto.FLOAT, None))
    if not measured:
        return {}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    means = zip(*(session.run(None, {"image": batch}) for batch in batches), strict=True)
    sizes = [len(batch) for batch in batches]
    return {
        node.name: np.average(parts, axis=0, weights=sizes).astype(np.float32)
        for node, parts in zip(measured, means, strict=True)
    }


def _rounded_weights(graph: onnx.GraphProto) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights of the quantised convolutions as they are computed with, by the name of the convolution."""
    constants = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        maker = makers.get(node.input[1]) if node.op_type == "Conv" else None
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in constants:
            steps, scale = (numpy_helper.to_array(constants[name]) for name in maker.input[:2])
            found[node.name] = (steps * scale.reshape(-1, *[1] * (steps.ndim - 1))).astype(np.float32)
    return found
