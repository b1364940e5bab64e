"""Ask an exported file and score what it says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from linnet.manifest import Metrics, Split
from linnet.session import Network, Outputs
from trainer.evaluate import in_batches

Labels = npt.NDArray[np.int64]  # [N]

MEASURING_BATCH = 32


def run_in_batches(network: Network, images: torch.Tensor, size: int = MEASURING_BATCH) -> Outputs:
    """Answer images uint8 [N, H, W, 3] in batches of `size`."""
    parts = [network(batch.numpy()) for batch in in_batches(images, size)]
    joined: dict[str, Any] = {
        field.name: None
        if getattr(parts[0], field.name) is None
        else np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Outputs)
    }
    return Outputs(**joined)


def measure(answers: Outputs, labels: Labels, split: Split = "test") -> Metrics:
    """Score the answers of the very file against labels [N]."""
    from sklearn.metrics import f1_score

    predicted = answers.probabilities.argmax(1)
    correct = int((predicted == labels).sum())
    chosen = answers.probabilities[np.arange(len(labels)), labels].astype(np.float64)
    every = list(range(answers.probabilities.shape[1]))
    loss = float(-np.log(chosen.clip(np.finfo(np.float32).tiny)).mean())
    return Metrics(
        split=split,
        n=len(labels),
        correct=correct,
        accuracy=correct / len(labels),
        loss=loss,
        f1=float(f1_score(labels, predicted, labels=every, average="macro", zero_division=0.0)),
    )


def auroc(known: npt.NDArray[np.float32], foreign: npt.NDArray[np.float32]) -> float:
    """Return the area under the ROC curve: the share of pairs in which the foreign image has the higher score."""
    from sklearn.metrics import roc_auc_score

    is_foreign = np.repeat([False, True], [len(known), len(foreign)])
    return float(roc_auc_score(is_foreign, np.concatenate([known, foreign])))
