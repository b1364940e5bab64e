"""From a float graph to one of 16-bit floats, for CUDA: half the memory, and tensor cores."""

from __future__ import annotations

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from export.graph import BACKBONE_PREFIX


def halve(core: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the backbone in fp16; normalisation, neck, head and all outputs stay in fp32."""
    model = onnx.ModelProto()
    model.CopyFrom(core)
    outside = [node.name for node in model.graph.node if not node.name.startswith(BACKBONE_PREFIX)]
    converted = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=DEFAULT_OP_BLOCK_LIST, node_block_list=outside
    )
    _drop_repeated_casts(converted.graph)
    halved = ONNXModel(converted)
    halved.topological_sort()  # what was added stands at the end
    result: onnx.ModelProto = halved.model
    del result.graph.value_info[:]  # in places of the precision before
    return result


def _drop_repeated_casts(graph: onnx.GraphProto) -> None:
    """Keep one of the equal casts that the converter adds for each of several readers of a tensor."""
    seen: set[str] = set()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in seen:
            graph.node.remove(node)
        seen.update(node.output)
