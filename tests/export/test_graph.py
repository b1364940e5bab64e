"""Any head that a recipe can describe is written as it answers in PyTorch."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from export.graph import trace
from linnet.preprocess import PreprocessSpec
from trainer.network import build_classifier
from trainer.recipe import Network

SPEC = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.mark.parametrize("hidden", [(16, 8)])
def test_a_head_with_hidden_layers_is_exported(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build_classifier(Network(backbone="cnn_2", weights="none", hidden=hidden), 3, SPEC).eval()
    graph = trace(network, SPEC.size_px)
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    logits, embedding = session.run(["logits", "embedding"], {"image": images.numpy()})
    with torch.no_grad():
        assert np.allclose(logits, network(images), atol=1e-5)
        assert np.allclose(embedding, network.embed(images), atol=1e-5)
