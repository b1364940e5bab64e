"""Networks of a few nodes for the tests of the core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from tests.linnet.manifests import CLASSES, SIZE_PX


def write_network(path: Path, *, size_px: int = SIZE_PX, class_count: int = len(CLASSES), scale: float = 0.01) -> Path:
    """Write a network whose logits are class index x `scale` x mean red, and whose embedding is the mean colour."""
    weights = np.zeros((3, class_count), np.float32)
    weights[0] = np.arange(class_count) * scale
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size_px, size_px, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", class_count]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", class_count]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        ],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path
