"""Write the trained network as one ONNX file whose input is an image and whose outputs are answers.

Input `image` uint8 [N, H, W, 3]; outputs `probabilities` and `logits` float32 [N, K], `embedding` float32 [N, D].
Any N works.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import nn

from trainer.network import Classifier

OPSET = 20
OUTPUTS = ("probabilities", "logits", "embedding")


class Answering(nn.Module):
    """The classifier together with what turns its logits into probabilities."""

    def __init__(self, network: Classifier, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return probabilities [N, K], logits [N, K] and embedding [N, D] of images [N, H, W, 3]."""
        embedding = self.network.embed(image)
        logits = self.network.head(embedding)
        return torch.softmax(logits / self.temperature, 1), logits, embedding


def write_onnx(network: Classifier, size_px: int, temperature: float, path: Path) -> None:
    """Export by way of `torch.export`, with a dynamic batch; BatchNorm is folded and no file name is kept."""
    model = Answering(network, temperature).eval()
    example = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=["image"],
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None  # the dynamo exporter returns a program, by its documentation
    proto = program.model_proto
    _strip_traces(proto.graph)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def _strip_traces(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes: they hold stack traces with file names."""
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.metadata_props[:]
