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
from trainer.metrics import wilson_interval

Labels = npt.NDArray[np.int64]  # [N]

MEASURING_BATCH = 32
# It grows with the square of the classes, and the service sends it with every list of models: of 100 classes it is
# 20 kB there and 150 kB in bundle.json, of 1,000 it would be a hundred times that, and nobody reads so large a table.
LARGEST_CONFUSION_CLASSES = 100


def run_in_batches(network: Network, images: torch.Tensor, size: int = MEASURING_BATCH) -> Outputs:
    """Answer images uint8 [N, H, W, 3] in batches of `size`; the activation maps, which nothing scores, are let go."""
    parts = [dataclasses.replace(network(batch.numpy()), cam=None) for batch in in_batches(images, size)]
    joined: dict[str, Any] = {
        field.name: None
        if getattr(parts[0], field.name) is None
        else np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Outputs)
    }
    return Outputs(**joined)


def measure(answers: Outputs, labels: Labels, split: Split = "test") -> Metrics:
    """Score the answers of the very file against labels [N]."""
    from sklearn.metrics import confusion_matrix, f1_score

    predicted = answers.probabilities.argmax(1)
    correct = int((predicted == labels).sum())
    chosen = answers.probabilities[np.arange(len(labels)), labels].astype(np.float64)
    every = list(range(answers.probabilities.shape[1]))
    loss = float(-np.log(chosen.clip(np.finfo(np.float32).tiny)).mean())
    low, high = wilson_interval(correct, len(labels))
    shows_confusion = len(every) <= LARGEST_CONFUSION_CLASSES
    return Metrics(
        split=split,
        n=len(labels),
        correct=correct,
        accuracy=correct / len(labels),
        loss=loss,
        f1=float(f1_score(labels, predicted, labels=every, average="macro", zero_division=0.0)),
        accuracy_low=low,
        accuracy_high=high,
        confusion=confusion_matrix(labels, predicted, labels=every).tolist() if shows_confusion else None,
    )


def auroc(known: npt.NDArray[np.float32], foreign: npt.NDArray[np.float32]) -> float:
    """Return the area under the ROC curve: the share of pairs in which the foreign image has the higher score."""
    from sklearn.metrics import roc_auc_score

    is_foreign = np.repeat([False, True], [len(known), len(foreign)])
    return float(roc_auc_score(is_foreign, np.concatenate([known, foreign])))
