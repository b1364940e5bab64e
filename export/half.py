"""From a float graph to one of 16-bit floats, for CUDA: half the memory, and tensor cores."""

from __future__ import annotations

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from export.graph import BACKBONE_PREFIX


def halve(core: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the backbone in fp16; normalisation, neck, head and all outputs stay in fp32."""
    model = onnx.ModelProto()
    model.CopyFrom(core)
    outside = [node.name for node in model.graph.node if not node.name.startswith(BACKBONE_PREFIX)]
    halved: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=DEFAULT_OP_BLOCK_LIST, node_block_list=outside
    )
    return onnx.shape_inference.infer_shapes(halved)
