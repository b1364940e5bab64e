"""Any head that a recipe can describe is written as it answers in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from export.graph import write_onnx
from linnet.preprocess import PreprocessSpec
from linnet.session import open_network
from trainer.network import build_classifier
from trainer.recipe import Network

SPEC = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.mark.parametrize("hidden", [(16, 8)])
def test_a_head_with_hidden_layers_is_exported(hidden: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_classifier(Network(backbone="cnn_2", weights="none", hidden=hidden), 3, SPEC).eval()
    write_onnx(network, SPEC.size_px, 1.0, tmp_path / "model.onnx")
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    answers = open_network(tmp_path / "model.onnx", provider="cpu")(images.numpy())
    with torch.no_grad():
        assert np.allclose(answers.logits, network(images), atol=1e-5)
        assert np.allclose(answers.embedding, network.embed(images), atol=1e-5)
