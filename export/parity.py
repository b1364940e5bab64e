"""The gate between training and serving: the ONNX file must answer as the trained network does."""

from __future__ import annotations

import numpy as np
import torch

from export.errors import ParityFailed
from linnet.bundle import Metrics, Parity
from linnet.session import Network, Outputs
from trainer.evaluate import in_batches, predict_logits
from trainer.network import Classifier

BATCH_SIZES = (1, 2, 3, 7, 32)
LARGEST_DIFFERENCE = 1e-4  # of a probability


def run_in_batches(network: Network, images: torch.Tensor, size: int) -> Outputs:
    """Answer images uint8 [N, H, W, 3] in batches of `size`."""
    parts = [network(batch.numpy()) for batch in in_batches(images, size)]
    return Outputs(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.embedding for part in parts]),
    )


def check_parity(
    trained: Classifier, temperature: float, exported: Network, images: torch.Tensor, answers: Outputs
) -> Parity:
    """Hold what ONNX Runtime said (`answers`) against PyTorch on every image, and again on small batches.

    Top-1 must agree on all images and no probability may differ by more than `LARGEST_DIFFERENCE`.
    Raises `ParityFailed`.
    """
    expected = torch.softmax(predict_logits(trained, images) / temperature, 1).numpy()
    difference = float(np.abs(answers.probabilities - expected).max())
    agreement = float((answers.probabilities.argmax(1) == expected.argmax(1)).mean())
    for size in BATCH_SIZES:
        few = images[:size]
        by_batch = exported(few.numpy()).probabilities
        difference = max(difference, float(np.abs(by_batch - expected[:size]).max()))
    if not difference <= LARGEST_DIFFERENCE:
        raise ParityFailed(
            "the largest difference of a probability", f"{difference:.2g}", f"at most {LARGEST_DIFFERENCE:g}"
        )
    if agreement < 1:
        raise ParityFailed("the top-1 agreement", f"{agreement:.4%}", "100 %")
    return Parity(
        n=len(images), top1_agreement=agreement, max_probability_difference=difference, batch_sizes=BATCH_SIZES
    )


def measure(answers: Outputs, labels: torch.Tensor) -> Metrics:
    """Score the answers of the very file on the test split."""
    truth = labels.numpy()
    correct = int((answers.probabilities.argmax(1) == truth).sum())
    chosen = answers.probabilities[np.arange(len(truth)), truth].astype(np.float64)
    loss = float(-np.log(chosen.clip(np.finfo(np.float32).tiny)).mean())
    return Metrics(split="test", n=len(truth), correct=correct, accuracy=correct / len(truth), loss=loss)
