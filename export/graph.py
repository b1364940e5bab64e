"""Write the trained network as an ONNX graph from an image to logits; `export.tail` adds what makes answers of them.

Input `image` uint8 [N, H, W, 3]; outputs `logits` float32 [N, K], `embedding` float32 [N, D], and `cam` float32
[N, K, h, w] where the head is one linear layer on averaged maps and K is small. Any N works.
"""

from __future__ import annotations

import ast
from collections import Counter

import onnx
import torch
from torch import nn

from trainer.backbones import AveragePool
from trainer.network import Classifier

OPSET = 20
BACKBONE_PREFIX = "blocks."  # of the names of nodes that belong to the backbone
LARGEST_CAM_CLASSES = 100  # K x h x w numbers for each image, of which a caller wants one class at most

_SCOPES = "pkg.torch.onnx.name_scopes"
ROOT = "network."  # of the names of weights


class Evidence(nn.Module):
    """The classifier with everything that is read from it."""

    scale: torch.Tensor  # [3, 1, 1]
    offset: torch.Tensor  # [3, 1, 1]

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self.cam_layer = _cam_layer(network)
        # Whole planes are scaled several times faster than triples of channels, which come last in the input.
        self.register_buffer("scale", network.scale[:, None, None])
        self.register_buffer("offset", network.offset[:, None, None])

    @property
    def output_names(self) -> tuple[str, ...]:
        """Name what `forward` returns."""
        return ("logits", "embedding", "cam") if self.cam_layer is not None else ("logits", "embedding")

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logits [N, K], embedding [N, D] and maybe cam [N, K, h, w] of images [N, H, W, 3]."""
        maps = self.network.blocks(image.permute(0, 3, 1, 2).float() * self.scale + self.offset)
        embedding = self.network.neck(maps)
        answers = (self.network.head(embedding), embedding)
        if self.cam_layer is None:
            return answers
        # With the channels last, as int8 convolutions leave them and as the neck takes them: half the time of a 1 x 1
        # convolution for a single image.
        return (*answers, self.cam_layer(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def _cam_layer(network: Classifier) -> nn.Linear | None:
    """Return the head without its bias, for each place of the maps that the neck averages (Zhou et al. 2016), or None.

    The mean over all places, with the bias, is the logit.
    """
    layers = [layer for layer in network.head if not isinstance(layer, nn.Dropout)]
    if not isinstance(network.neck, AveragePool) or len(layers) != 1 or not isinstance(layers[0], nn.Linear):
        return None
    head = layers[0]
    if head.out_features > LARGEST_CAM_CLASSES:
        return None
    layer = nn.Linear(head.in_features, head.out_features, bias=False)
    layer.weight = nn.Parameter(head.weight.detach().clone())
    return layer


def trace(network: Classifier, size_px: int) -> onnx.ModelProto:
    """Export by way of `torch.export`, with a dynamic batch; BatchNorm is folded and no file name is kept.

    Nodes are named after the layers they come from, as in 'blocks.1.conv.0.0/Conv'.
    """
    model = Evidence(network).eval()
    program = torch.onnx.export(
        model,
        (torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=["image"],
        output_names=list(model.output_names),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None  # the dynamo exporter returns a program, by its documentation
    proto = program.model_proto
    _name_nodes(proto.graph)
    _strip_traces(proto.graph)
    proto = onnx.shape_inference.infer_shapes(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _name_nodes(graph: onnx.GraphProto) -> None:
    weights = {item.name for item in graph.initializer}
    seen: Counter[str] = Counter()
    for node in graph.node:
        layer = _layer_of(node, weights).removeprefix(ROOT)
        name = f"{layer}/{node.op_type}" if layer else node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}.{seen[name]}"


def _layer_of(node: onnx.NodeProto, weights: set[str]) -> str:
    """Return the path of the module a node comes from: that of its weights, or else of the innermost module."""
    for name in node.input:
        if name in weights and name.endswith(".weight"):
            return str(name).removesuffix(".weight")
    scopes = next((item.value for item in node.metadata_props if item.key == _SCOPES), "['', '']")
    path: list[str] = ast.literal_eval(scopes)
    return path[-2] if len(path) > 1 else ""


def _strip_traces(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes: they hold stack traces with file names."""
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.metadata_props[:]
